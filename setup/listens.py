"""Exit with 0 where something listens on the unix socket; after a kill the file alone remains."""

from __future__ import annotations

import socket
import sys

with socket.socket(socket.AF_UNIX) as client:
    client.settimeout(3)
    try:
        client.connect(sys.argv[1])
    except OSError:
        sys.exit(1)
