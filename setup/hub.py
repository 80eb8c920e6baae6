"""Ends with 0 where Docker Hub's port can be reached, within three seconds, name look-up included."""

from __future__ import annotations

import signal
import socket
import sys

signal.alarm(3)  # a resolver that waits knows no time-out of ours: the signal ends this program, which is the answer "no"
try:
    socket.create_connection(("registry-1.docker.io", 443), timeout=3).close()
except OSError:
    sys.exit(1)
