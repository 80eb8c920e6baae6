#!/bin/sh
# promote.sh SOURCE TARGET: copy an image from one registry to another by way of the engine, and see that its digest is the same.
set -eu
source=$1
target=$2

digest=$(regctl inspect -q "$source")
pinned=${source%:*}@$digest # a tag may be moved while this runs, a digest may not

regctl pull -q "$pinned" >/dev/null
regctl tag "$pinned" "$target" >/dev/null
regctl push -q "$target" >/dev/null
regctl rmi "$target" "$pinned" >/dev/null

promoted=$(regctl inspect -q "$target")
if [ "$promoted" != "$digest" ]; then
    echo "the engine made another manifest of it: $promoted instead of $digest" >&2
    exit 1
fi
echo "$target is $digest"
