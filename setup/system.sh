# What the set-up scripts know about this machine. Sourced by them, never run; POSIX sh, GNU and BSD tools.
#
# SETUP_ROOT stands before every absolute path that is looked at: the tests put a made-up machine there.

root=${SETUP_ROOT:-}

say() { printf '%s\n' "$*" >&2; }

# stop STATUS LINE [LINE...]
stop() {
    status=$1
    shift
    for line in "$@"; do say "$line"; done
    exit "$status"
}

is_root() { [ "$(id -u)" = 0 ]; }

has() { command -v "$1" >/dev/null 2>&1; }

has_systemd() { [ -d "$root/run/systemd/system" ] && has systemctl; }

# macos, wsl, debian (and what descends from it), fedora, arch, linux, other
system() {
    case $(uname -s) in
        Darwin) echo macos ;;
        Linux)
            case " $(os_ids) " in
                *" debian "* | *" ubuntu "*) echo debian ;;
                *" fedora "* | *" rhel "*) echo fedora ;;
                *" arch "*) echo arch ;;
                *) echo linux ;;
            esac ;;
        *) echo other ;;
    esac
}

os_ids() {
    [ -r "$root/etc/os-release" ] || return 0
    sed -n 's/^ID=//p; s/^ID_LIKE=//p' "$root/etc/os-release" | tr -d "\"'" | tr '\n' ' '
}

is_wsl() { grep -qi microsoft "$root/proc/sys/kernel/osrelease" 2>/dev/null; }

may_install() { [ "$(system)" = debian ] && is_root && has apt-get; }

is_installed() { dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }

# install WHY PACKAGE...: says what it does, then lets apt-get do it; its output is shown where it failed.
install() {
    why=$1
    shift
    say "$why: installing Debian's $* (apt-get) …"
    output=$(mktemp)
    guard=$root/usr/sbin/policy-rc.d
    # A package that brings a service (redis-server) must not start it: we only want the program.
    if has_systemd && [ ! -e "$guard" ]; then
        trap 'rm -f "$guard" "$output"' EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM
        printf '#!/bin/sh\nexit 101\n' >"$guard"
        chmod 755 "$guard"
    else
        guard=
    fi
    installed=1
    # No lists, or lists so old that their files are gone: fetch them and try again, once.
    if apt_install "$@" >"$output" 2>&1 || { apt-get -q update && apt_install "$@"; } >>"$output" 2>&1; then
        installed=0
    else
        tail -n 8 "$output" >&2
    fi
    rm -f "$output"
    [ -z "$guard" ] || rm -f "$guard"
    return "$installed"
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 install "$@" </dev/null
}
