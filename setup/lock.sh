#!/bin/sh
# Writes requirements/run.lock and requirements/dev.lock anew from pyproject.toml. Arguments go to uv (--upgrade).
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
. setup/system.sh

python=${SETUP_PYTHON:-.venv/bin/python}
"$python" -c 'import uv' 2>/dev/null || "$python" -m pip install --quiet --disable-pip-version-check uv

# No index, no folder of this machine goes into a lock: whoever installs uses what their own pip is set to.
compile() {
    "$python" -m uv pip compile --quiet --no-config --universal --python-version 3.10 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' "$@" pyproject.toml
}

compile --group build -o requirements/run.lock "$@"
compile --group dev -c requirements/run.lock -o requirements/dev.lock "$@"
say 'requirements/run.lock and requirements/dev.lock are up to date'
