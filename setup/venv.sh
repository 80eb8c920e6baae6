#!/bin/sh
# Creates or updates .venv: `venv.sh run` for the tool, `venv.sh dev` also for its tests, `venv.sh release` also for the
# documents' site and a release.
#
# .venv/ready records what it was created from: kind, folder, and sums of the lock and pyproject.toml. It is removed first and
# written last, so that a set-up that was killed starts over. PYTHON is a Python to use instead of the first one on PATH.
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
. setup/system.sh

kind=$1
lock=requirements/$kind.lock
stamp=.venv/ready

main() {
    wanted=$(sums "$kind")
    if [ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null && [ -f "$stamp" ]; then
        recorded=$(cat "$stamp")
        [ "$recorded" != "$wanted" ] || exit 0
        # Each kind includes those before it.
        for larger in $(larger_than "$kind"); do
            [ "$recorded" != "$(sums "$larger")" ] || exit 0
        done
        # Same folder, another lock: pip changes what differs. In another folder its scripts have the old path.
        [ "$(tail -n 1 "$stamp")" = "$PWD" ] || fresh
    else
        fresh
    fi
    if [ "$kind" = release ] && ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        stop 1 "this takes Python 3.11 or newer (.venv has an older one): PYTHON=/path/to/python3 make …, after make clean"
    fi
    rm -f "$stamp"
    say "installing requirements/$kind.lock into .venv …"
    pip install --require-hashes -r "$lock"
    pip install --no-deps --no-build-isolation -e .
    printf '%s\n' "$wanted" >"$stamp"
}

larger_than() {
    case $1 in
        run) echo dev release ;;
        dev) echo release ;;
    esac
}

sums() {
    echo "$1"
    cksum "requirements/$1.lock" pyproject.toml
    pwd
}

pip() {
    .venv/bin/python -m pip "$@" --quiet --quiet --disable-pip-version-check --no-input ||
        stop 1 "pip could not install $lock (see above): is there a network? pip's own settings (pip config) name another index or a proxy"
}

fresh() {
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" || stop 1 "PYTHON=$PYTHON is no Python 3.10 or newer"
    fi
    base=$(find_python) || base=$(python_by_apt) || stop 1 "Python 3.10 or newer is missing: $(python_hint)"
    rm -rf .venv
    if can_venv "$base"; then
        "$base" -m venv .venv
    elif "$base" -c 'import virtualenv' 2>/dev/null; then
        "$base" -m virtualenv --quiet .venv
    elif may_install && install "$base cannot make virtual environments" "$(venv_package "$base")" && can_venv "$base"; then
        "$base" -m venv .venv
    else
        stop 1 "$base cannot make virtual environments: sudo apt-get install $(venv_package "$base")"
    fi
}

# A name on PATH is not enough: a shim of pyenv or a stub of macOS fails when it is run.
is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; }

can_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        echo "$PYTHON"
        return 0
    fi
    usable=
    for name in python3.14 python3.13 python3.12 python3.11 python3.10 python3 python; do
        is_new_enough "$name" || continue
        if can_venv "$name"; then
            echo "$name"
            return 0
        fi
        usable=${usable:-$name}
    done
    [ -z "$usable" ] || echo "$usable"
    [ -n "$usable" ]
}

python_by_apt() {
    may_install && install 'no Python 3.10 or newer here' python3-venv && find_python
}

python_hint() {
    case $(system) in
        macos) echo 'brew install python3, or https://www.python.org/downloads/' ;;
        debian) echo 'sudo apt-get install python3-venv' ;;
        fedora) echo 'sudo dnf install python3' ;;
        arch) echo 'sudo pacman -S python' ;;
        *) echo 'https://www.python.org/downloads/' ;;
    esac
}

# Debian has ensurepip in a package for each Python; python3-venv is for its default python3 only.
venv_package() { "$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'; }

main
