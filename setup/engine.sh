#!/bin/sh
# Makes sure that a container engine responds where docker would look for one.
#
#   responds                used
#   installed but stopped   started: by systemd where that runs, otherwise detached
#   socket not permitted    reported
#   not installed           Debian's packages, with docker's client, as root on Debian or Ubuntu without another docker; otherwise explained
#
# No engine's configuration is ever changed. Exit code 0, or 3 as of regctl where no engine responds;
# with `--if-possible` it explains and exits with 0 (the tests then skip what needs an engine).
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
. setup/system.sh

python=${SETUP_PYTHON:-.venv/bin/python}
log=$root/var/log/docker.log # as Debian's init script
timeout=${SETUP_TIMEOUT:-60}
optional=
[ "${1:-}" != --if-possible ] || optional=yes

give_up() {
    [ -z "$optional" ] || stop 0 "$@" 'going on without an engine: what needs one is skipped'
    stop 3 "$@"
}

# Sets `state` (answers, silent, elsewhere, forbidden, broken) and `message` (one line), as the tool itself finds it.
find_state() {
    message=$("$python" -m setup.engine_state 2>&1) || true
    state=${message%% *}
    message=${message#* }
}

wait_for_engine() {
    deadline=$(($(date +%s) + timeout))
    while find_state; [ "$state" != answers ]; do
        [ "$(date +%s)" -lt "$deadline" ] || return 1
        [ -z "${child:-}" ] || kill -0 "$child" 2>/dev/null || runs_under "$root/var/run/docker.pid" dockerd || return 1
        sleep 0.2
    done
}

main() {
    find_state
    case $state in
        answers) exit 0 ;;
        forbidden)
            give_up "$message" \
                "join the group that may: sudo usermod -aG docker \"\$USER\" (then log in again), or run make with sudo" ;;
        elsewhere) give_up "$message" 'start it, or unset DOCKER_HOST (docker context use default) to use the engine of this machine' ;;
        silent) ;;
        broken) give_up "$message" ;;
        *) give_up "the engine could not be checked: $state $message" ;;
    esac
    case $(system) in
        macos) on_macos ;;
        other) give_up 'no container engine answers, and this system is not known here: start one that docker can use' ;;
        *) on_linux ;;
    esac
}

on_macos() {
    if [ -d "$root/Applications/Docker.app" ]; then
        say 'the engine is stopped: starting Docker Desktop …'
        open -g -a Docker || give_up 'Docker Desktop could not be started'
        timeout=$((timeout * 2)) # it starts a whole virtual machine
        wait_for_engine || give_up "Docker Desktop was started, but does not answer after $timeout s: look at its window"
    elif has colima; then
        say 'the engine is stopped: starting colima …'
        colima start || give_up 'colima could not be started'
        wait_for_engine || give_up 'colima was started, but docker does not look for it: docker context use colima'
    else
        give_up 'no container engine on this Mac' \
            'install Docker Desktop (https://docs.docker.com/desktop/) or colima (brew install colima docker && colima start)'
    fi
}

on_linux() {
    if has_systemd && unit=$(stopped_unit); then
        by_systemd "$unit"
    elif is_installed_podman_docker; then
        give_up "podman-docker is installed, but podman's socket does not answer" 'sudo systemctl enable --now podman.socket'
    elif dockerd=$(find_dockerd); then
        by_hand "$dockerd"
    elif is_wsl && desktop=$(readlink "$(command -v docker || echo /nowhere)") && [ "${desktop#*/docker-desktop/}" != "$desktop" ]; then
        give_up 'Docker Desktop does not answer' 'start it in Windows (Settings, Resources, WSL integration has this distribution)'
    elif other=$(other_docker); then
        give_up "$other is installed, but no engine answers" 'start it; nothing is installed beside another docker'
    elif may_install; then
        install 'no container engine here' docker.io iptables || give_up 'no container engine, and apt-get could not install one (see above)'
        # A package of its own since Debian 13. The tool does without; the demo's lines and the tests do not.
        has docker || install 'docker.io brings no client' docker-cli || say 'apt-get could not install it (see above); going on without'
        if has_systemd && unit=$(stopped_unit); then
            by_systemd "$unit"
        elif dockerd=$(find_dockerd); then
            by_hand "$dockerd"
        else
            give_up 'docker.io is installed, but brought no dockerd'
        fi
    else
        explain
    fi
}

explain() {
    if is_wsl; then
        give_up 'no container engine in this WSL distribution' \
            "either switch on Docker Desktop's WSL integration, or: sudo apt-get install docker.io && sudo service docker start"
    fi
    case $(system) in
        debian) how='sudo apt-get install docker.io iptables' ;;
        fedora) how='sudo dnf install moby-engine && sudo systemctl start docker' ;;
        arch) how='sudo pacman -S docker && sudo systemctl start docker' ;;
        *) how='see https://docs.docker.com/engine/install/' ;;
    esac
    give_up 'no container engine on this machine' "$how"
}

# The name of a unit that would start an engine; fails where systemd knows none.
stopped_unit() {
    for unit in docker.service snap.docker.dockerd.service; do
        if systemctl cat "$unit" >/dev/null 2>&1; then
            echo "$unit"
            return 0
        fi
    done
    return 1
}

by_systemd() {
    is_root || give_up 'the engine is stopped' "sudo systemctl start $1"
    say "the engine is stopped: starting $1 …"
    systemctl start "$1" || give_up "$1 could not be started" "journalctl -u $1"
    wait_for_engine || give_up "$1 was started, but no engine answers after $timeout s" "journalctl -u $1"
}

find_dockerd() {
    command -v dockerd && return 0
    for folder in usr/sbin usr/local/sbin sbin usr/bin usr/local/bin; do
        if [ -x "$root/$folder/dockerd" ]; then
            echo "$root/$folder/dockerd"
            return 0
        fi
    done
    return 1
}

is_installed_podman_docker() { has dpkg-query && is_installed podman-docker; }

# Another docker (from docker.com, a snap, a desktop), which conflicts with Debian's packages. A client alone on PATH is none.
other_docker() {
    if has dpkg-query; then
        for package in docker-ce docker-ce-cli docker-ce-rootless-extras docker-desktop docker-engine containerd.io moby-engine moby-cli; do
            if is_installed "$package"; then
                echo "$package"
                return 0
            fi
        done
    fi
    if [ -d "$root/snap/docker" ]; then
        echo "docker's snap"
    elif has dockerd-rootless.sh; then
        echo 'a rootless docker'
    elif [ -d "$root/opt/docker-desktop" ]; then
        echo 'Docker Desktop'
    else
        return 1
    fi
}

# runs_under PIDFILE NAME: whether the process with the number in the file is NAME, and no zombie.
runs_under() {
    [ -s "$1" ] || return 1
    running=$(cat "$1")
    case $(cat "$root/proc/$running/comm" 2>/dev/null) in
        "$2"*) ! grep -q '^State:[[:space:]]*Z' "$root/proc/$running/status" 2>/dev/null ;;
        *) return 1 ;;
    esac
}

# Stale files of a killed engine block the next: the pid file may have the number of another process (then dockerd refuses to
# start), and a socket without a listener is taken for a running containerd (then dockerd waits for it).
remove_stale_files() {
    runs_under "$root/var/run/docker.pid" dockerd || rm -f "$root/var/run/docker.pid"
    own=$root/var/run/docker/containerd
    runs_under "$own/containerd.pid" containerd || rm -f "$own/containerd.pid" "$own/containerd.sock"
    socket=$root/run/containerd/containerd.sock
    [ ! -S "$socket" ] || "$python" setup/listens.py "$socket" || rm -f "$socket"
}

# Without an init system: start it with a session, a folder and streams of its own, as a service. With the streams of this
# script it would keep a pipeline or a CI run open.
by_hand() {
    is_root || give_up 'the engine is stopped' "sudo service docker start (or: sudo sh setup/engine.sh)"
    child=
    remove_stale_files
    if runs_under "$root/var/run/docker.pid" dockerd; then
        say "the engine (process $running) does not answer yet: waiting …"
    else
        say "the engine is stopped: starting $1 (log: $log) …"
        mkdir -p "$(dirname "$log")"
        (cd / && exec setsid "$1" </dev/null >>"$log" 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-) &
        child=$!
    fi
    wait_for_engine && exit 0
    say "the engine does not answer after all; the end of $log:"
    { grep -v level=info "$log" || true; } | tail -n 8 >&2
    if ! ls "$root"/sys/fs/cgroup/*/ >/dev/null 2>&1; then
        give_up 'there are no control groups under /sys/fs/cgroup' 'if this is a container, it has to be started with --privileged'
    fi
    give_up 'dockerd could not be started' "read $log; if this is a container, an engine in it needs --privileged"
}

main
