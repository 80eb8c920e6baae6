#!/bin/sh
# Makes .venv, or brings it up to date: `venv.sh run` holds what the tool needs, `venv.sh dev` what its tests need, too, and
# `venv.sh release` what the documents' site and a release need beside all that.
#
# .venv/ready says what it was made from: kind, place, and sums of the lock and pyproject.toml. It is written last and taken away
# first, so that a set-up that was killed in the middle starts clean. PYTHON names a Python to use instead of looking for one.
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
        found=$(cat "$stamp")
        [ "$found" != "$wanted" ] || exit 0
        # Each kind has in it all that the kinds before it need.
        for larger in $(larger_than "$kind"); do
            [ "$found" != "$(sums "$larger")" ] || exit 0
        done
        # The same place, another lock: pip changes what differs. Elsewhere, its scripts name a folder that is gone.
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
    found=$(find_python) || found=$(python_by_apt) || stop 1 "Python 3.10 or newer is missing: $(python_hint)"
    rm -rf .venv
    if can_venv "$found"; then
        "$found" -m venv .venv
    elif "$found" -c 'import virtualenv' 2>/dev/null; then
        "$found" -m virtualenv --quiet .venv
    elif may_install && install "$found cannot make virtual environments" "$(venv_package "$found")" && can_venv "$found"; then
        "$found" -m venv .venv
    else
        stop 1 "$found cannot make virtual environments: sudo apt-get install $(venv_package "$found")"
    fi
}

# A name on PATH is not enough: a shim of pyenv or a stub of macOS may be there, and fail when it is run.
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

# Debian keeps ensurepip apart from each Python; python3-venv goes with its own python3 only.
venv_package() { "$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'; }

main
