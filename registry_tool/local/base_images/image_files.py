"""Files of the images that are built here, and the tools that busybox provides in them."""

from __future__ import annotations

REGISTRY_CONFIG = b"""\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""
"""In effect the configuration of ``registry:2``. What a local registry needs beyond it is in its environment."""

ENTRYPOINT_REGISTRY = b"""\
#!/bin/sh
# A configuration file alone means: serve. A verb or an option alone means: the registry's.
case "$1" in
    *.yaml | *.yml) set -- registry serve "$@" ;;
    serve | garbage-collect | help | -*) set -- registry "$@" ;;
esac
exec "$@"
"""

ENTRYPOINT_REDIS = b"""\
#!/bin/sh
# Options or a configuration file alone mean: the server's.
case "$1" in
    *.conf | -*) set -- redis-server "$@" ;;
esac
# Inside a container "protected" means that nobody else can connect; what is published decides who can.
if [ "$1" = redis-server ]; then
    set -- "$@" --protected-mode no
fi
exec "$@"
"""

NSSWITCH = b"""\
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
"""
"""Without it the C library queries DNS before ``/etc/hosts``, also for ``localhost``."""

_SMALL_TOOLS = """
[ [[ arch ash awk base64 basename bunzip2 bzcat bzip2 cat chgrp chmod chown chroot clear cmp cp cpio cut date dd df diff dirname
dmesg dnsdomainname du echo egrep env expand expr false fgrep find fold free getopt grep groups gunzip gzip head hexdump hostid
hostname id ip kill killall less link ln logname ls md5sum mkdir mkfifo mknod mktemp more mount mv nc netstat nl nproc nslookup
od paste patch pidof ping printf ps pwd readlink realpath renice rev rm rmdir sed seq setpriv setsid sh sha1sum sha256sum
sha512sum shred shuf sleep sort stat strings stty sync tac tail tar tee telnet test time timeout top touch tr traceroute true
truncate tty umount uname unexpand uniq unlink unxz unzip uptime usleep uudecode uuencode vi watch wc wget which whoami xargs
xxd xz xzcat yes zcat
"""

APPLETS = tuple(_SMALL_TOOLS.split())  # linked to busybox where no package has the program
