# Functions of the set-up scripts. Sourced by them; POSIX sh, GNU and BSD tools.
#
# SETUP_ROOT is the prefix of every absolute path that is read: the tests have a fake machine there.

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

# macos, debian (and its derivatives), fedora, arch, linux, other
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

# install WHY PACKAGE...: install by apt-get, whose output is shown where it fails.
install() {
    why=$1
    shift
    say "$why: installing Debian's $* (apt-get) …"
    output=$(mktemp)
    guard=$root/usr/sbin/policy-rc.d
    # A package with a service (redis-server) must not start it: only the program is needed.
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
    # Without lists, or with outdated ones: fetch them and try once more.
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
