"""HTTP requests to registries; the one room that imports HTTP libraries.

The rules, all about not being led astray (OCI distribution specification 1.1; distribution, "Token authentication"):

- A registry on loopback is never asked through a proxy, and TLS is detected. Any other registry is asked by
  TLS, unless plain HTTP was requested; a certificate goes unchecked for the host only for which that was requested.
- A password goes to the registry itself, or to its token server, if that is reached by TLS or both are on loopback.
  ``.netrc`` is not read.
- A ``Link`` is a path and a query on the same origin, or on that which the registry redirected the list to. A ``Location``
  elsewhere is followed without credentials.
- Every wait has a time-out, every response a limit, and no response is decompressed.
"""

from __future__ import annotations

from registry_tool.transport.responses import Response
from registry_tool.transport.stream import ResponseStream
from registry_tool.transport.transport import MAX_BODY, Transport, log_warning

__all__ = ["MAX_BODY", "Response", "ResponseStream", "Transport", "log_warning"]
