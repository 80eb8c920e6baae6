#!/bin/sh
# Writes requirements/run.lock, dev.lock and release.lock from pyproject.toml. Arguments are passed to uv (--upgrade).
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
. setup/system.sh

python=${SETUP_PYTHON:-.venv/bin/python}
"$python" -c 'import uv' 2>/dev/null || "$python" -m pip install --quiet --disable-pip-version-check uv

# compile OLDEST_PYTHON ARGUMENTS...
# A lock has no index and no folder of this machine: whoever installs uses the settings of their pip.
compile() {
    oldest=$1
    shift
    "$python" -m uv pip compile --quiet --no-config --universal --python-version "$oldest" --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' "$@" pyproject.toml
}

compile 3.10 --group build -o requirements/run.lock "$@"
compile 3.10 --group dev -c requirements/run.lock -o requirements/dev.lock "$@"
compile 3.11 --group release -c requirements/dev.lock -o requirements/release.lock "$@"
say 'requirements/run.lock, dev.lock and release.lock are up to date'
