"""Ends with 0 where somebody listens on the unix socket that is named; the file alone says nothing after a kill."""

from __future__ import annotations

import socket
import sys

with socket.socket(socket.AF_UNIX) as client:
    client.settimeout(3)
    try:
        client.connect(sys.argv[1])
    except OSError:
        sys.exit(1)
