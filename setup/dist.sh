#!/bin/sh
# Makes wheel and sdist in dist/, and sees that they can be had: their metadata is what PyPI takes, the same commit gives the same bytes,
# and each of them, installed by pip into an environment that has nothing, runs. Needs PyPI for what the tool stands on.
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
. setup/system.sh

python=$PWD/.venv/bin/python

main() {
    if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
        SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) || SOURCE_DATE_EPOCH=1580601600 # hatchling's own, where there is no git
    fi
    export SOURCE_DATE_EPOCH

    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 130' INT TERM
    rm -rf dist
    build dist
    build "$scratch/again"
    for file in dist/*; do
        cmp "$file" "$scratch/again/${file#dist/}" || stop 1 "the same sources gave two different ${file#dist/}"
    done
    "$python" -m twine --no-color check --strict dist/* || stop 1 'twine refuses the metadata (see above)'
    for file in dist/*.whl dist/*.tar.gz; do
        try "$file" || stop 1 "$file is not what can be released (see above)"
    done
    say "$(printf '%s ' dist/*)are ready"
}

# build FOLDER
build() {
    "$python" -m hatchling build -d "$1" >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; stop 1 'hatchling could not build it (see above)'; }
}

# try FILE: in an environment of its own, from a folder where no checkout is
try() {
    say "installing $1 into an empty environment …"
    rm -rf "$scratch/venv"
    "$python" -m venv "$scratch/venv" || return 1
    "$scratch/venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --no-input "$PWD/$1" || return 1
    (
        cd "$scratch"
        unset PYTHONPATH
        venv/bin/regctl --version && venv/bin/regctl --help >/dev/null && venv/bin/python -m registry_tool --version >/dev/null
    )
}

main
