#!/bin/sh
# Checks the shell scripts: their syntax, and with shellcheck where it is installed.
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
. setup/system.sh

for script in setup/*.sh registry_tool/bundle/install.sh .ci/run; do
    sh -n "$script"
done
if has shellcheck; then
    shellcheck -x -s sh setup/*.sh registry_tool/bundle/install.sh .ci/run
else
    say 'shellcheck is not installed: only the syntax of the shell scripts was checked'
fi
