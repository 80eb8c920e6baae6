"""Requests to registries, and to nobody else: the one room that knows HTTP's libraries.

The rules, all of them about not being led astray (OCI distribution specification 1.1; distribution, "Token
authentication"):

- A registry on loopback is never asked through a proxy, and what it speaks is found out (:mod:`registry_tool.transport.origin`).
  Any other registry is asked by TLS, unless plain HTTP was asked for.
- A password goes to the registry itself, or to where the registry has its tokens made, if that is reached by TLS or
  both are on loopback. ``.netrc`` is not read.
- A ``Link`` is a path and a query on the registry we talk to. A ``Location`` elsewhere is followed without a password.
- Nothing is waited for without end, no answer is larger than it may be, and nothing is unpacked that was not to be packed.
"""

from __future__ import annotations

from registry_tool.transport.responses import Response
from registry_tool.transport.stream import ResponseStream
from registry_tool.transport.transport import MAX_ANSWER, Transport

__all__ = ["MAX_ANSWER", "Response", "ResponseStream", "Transport"]
