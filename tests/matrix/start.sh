# Starts an engine in a container, and stays: start.sh docker|podman STORE. Its processes' children have nobody else to end for.
set -eu
engine=$1
store=$2

# Without all privileges cgroups are mounted read-only; an engine makes some.
while read -r _ where kind options _; do
    case "$kind:$options" in
        cgroup*:ro | cgroup*:ro,*) mount -o remount,bind,rw "$where" ;;
    esac
done </proc/self/mounts
# In cgroups v2 a group with processes delegates no controllers to those below it.
cd /sys/fs/cgroup
if [ -f cgroup.controllers ]; then
    mkdir -p init
    while read -r process; do echo "$process" >init/cgroup.procs || :; done <cgroup.procs
    for controller in $(cat cgroup.controllers); do echo "+$controller" >cgroup.subtree_control || :; done
fi
cd /

# A kernel without nftables.
for tables in iptables ip6tables; do
    iptables -nL >/dev/null 2>&1 || update-alternatives --set "$tables" "/usr/sbin/$tables-legacy"
done

# Without all privileges an engine cannot set limits above its own.
limit() { awk -v "name=$1" 'index($0, name) == 1 { sub(name, ""); print ($2 == "unlimited" ? -1 : $2) }' /proc/self/limits; }
mkdir -p /etc/containers /etc/docker /run/podman
cat >/etc/containers/containers.conf <<END
[containers]
default_ulimits = ["nofile=$(limit 'Max open files'):$(limit 'Max open files')", "nproc=$(limit 'Max processes'):$(limit 'Max processes')"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
END

case $engine in
    docker)
        features='{"containerd-snapshotter": false}'
        [ "$store" != containerd ] || features='{"containerd-snapshotter": true}'
        echo "{\"features\": $features}" >/etc/docker/daemon.json
        dockerd --log-level warn & ;;
    podman) podman --log-level warn system service --time 0 unix:///run/podman/podman.sock & ;;
esac
child=$!
trap 'exit 0' TERM INT
while kill -0 "$child" 2>/dev/null; do sleep 1; done
echo "$engine has ended"
exit 1
