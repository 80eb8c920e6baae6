#!/bin/sh
# Installs missing programs that are used beside the engine, as root on Debian or Ubuntu.
#
#   parts.sh demo    what builds base images where Docker Hub cannot be reached
#   parts.sh test    what the tests use
#   parts.sh bench   what the bench compares with
#   parts.sh matrix  what makes the images of the matrix
#
# Elsewhere it lists what is missing and exits with 0: the tool reports what it needs, and tests skip.
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
. setup/system.sh

python=${SETUP_PYTHON:-.venv/bin/python}

main() {
    missing=
    case $1 in
        demo)
            # Only where base images may be built here.
            if ! has mmdebstrap && may_install && ! hub_answers; then need mmdebstrap mmdebstrap; fi ;;
        test)
            need mmdebstrap mmdebstrap
            need podman podman runc netavark aardvark-dns
            need skopeo skopeo
            need curl curl
            need redis-server redis-server
            docker compose version >/dev/null 2>&1 || need docker-compose docker-compose
            need ip iproute2
            need iptables iptables
            need nsenter util-linux
            need dash dash
            need shellcheck shellcheck
            need make make ;;
        bench)
            need skopeo skopeo
            need wrk wrk ;;
        matrix)
            need mmdebstrap mmdebstrap
            need docker docker.io
            need git git
            [ -e "$root/usr/share/keyrings/debian-archive-keyring.gpg" ] || missing="$missing debian-archive-keyring" ;;
        *) stop 2 'usage: parts.sh demo|test|bench|matrix' ;;
    esac
    [ -n "$missing" ] || return 0
    if may_install; then
        # shellcheck disable=SC2086 # a list of package names
        install "$(reason "$1")" $missing || say 'apt-get could not install them (see above); going on without'
    else
        say "missing here:$missing (what needs them is skipped; as root on Debian or Ubuntu they are installed)"
    fi
}

# need PROGRAM PACKAGE...
need() {
    program=$1
    shift
    in_sbin "$program" || missing="$missing $*"
}

# ip, iptables and nsenter may be in a folder that only root has on PATH.
in_sbin() { has "$1" || [ -x "$root/usr/sbin/$1" ] || [ -x "$root/sbin/$1" ]; }

reason() {
    case $1 in
        demo) echo 'Docker Hub does not answer, base images are built here' ;;
        test) echo 'the tests need more programs' ;;
        bench) echo 'the bench compares with more programs' ;;
        matrix) echo 'the matrix needs more programs' ;;
    esac
}

hub_answers() { "$python" setup/hub.py; }

main "$@"
