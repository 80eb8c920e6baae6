#!/bin/sh
# The greeting of the sample app's page, as app.py and the Dockerfile have it now.
set -eu
cd "$(dirname "$0")/../sample_app"
name=$(sed -n 's/^ENV NAME=\([^ ]*\).*/\1/p' Dockerfile)
greeting=$(sed -n 's/.*<h3>\([^<]*\)<.*/\1/p' app.py | sed "s|{name}|$name|")
echo "${greeting:-Hostname}"
