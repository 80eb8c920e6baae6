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
crane=.cache/bench/crane

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
            need openssl openssl
            need redis-server redis-server
            docker compose version >/dev/null 2>&1 || need docker-compose docker-compose
            need ip iproute2
            need iptables iptables
            # podman's networks need it since Debian 13, whose podman only recommends it
            need nft nftables
            need nsenter util-linux
            need pgrep procps
            # where there is no engine, setup/engine.sh brings the client with it
            ! in_sbin dockerd || need docker docker-cli
            need dash dash
            need shellcheck shellcheck
            need make make ;;
        bench)
            need skopeo skopeo
            need wrk wrk
            has crane || [ -x "$crane" ] || fetch_crane ;;
        matrix)
            need mmdebstrap mmdebstrap
            need docker "$(if in_sbin dockerd; then echo docker-cli; else echo docker.io; fi)"
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

# Older suites have no crane: the program alone is taken out of the package of Debian's unstable one, and nothing is installed.
# What fails leaves a row of the bench out.
fetch_crane() {
    may_install || return 0
    say 'the bench compares with crane: fetching its package from Debian sid (apt-get) …'
    folder=$(mktemp -d)
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "${crane%/*}"
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [signed-by=$keys] http://deb.debian.org/debian sid main" >"$folder/sources.list"
    if (cd "$folder" && apt_sid update && apt_sid download crane && dpkg-deb -x crane_*.deb package) >"$folder/log" 2>&1; then
        cp "$folder/package/usr/bin/crane" "$crane"
    else
        say "it could not be fetched; going on without: $(tail -n 1 "$folder/log")"
    fi
    rm -rf "$folder"
}

# apt-get with Debian sid as its only source, and nothing kept of that.
apt_sid() {
    apt-get -qq -o "Dir::Etc::SourceList=$folder/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$folder/lists" \
        -o "Dir::Cache=$folder/cache" -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o APT::Sandbox::User=root "$@"
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
