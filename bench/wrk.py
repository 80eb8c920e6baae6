"""How fast a server answers at best: requests as fast as ``wrk`` can make them."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.measure import run

CONNECTIONS = 8
"""As many as the table has."""

# wrk calls request() for each request; the paths come one after the other, and begin anew after the last.
_SCRIPT = """
wrk.headers["Accept"] = "{accept}"
local paths, at = {{}}, 0
for path in io.lines("{paths}") do paths[#paths + 1] = path end
request = function()
  at = at % #paths + 1
  return wrk.format(nil, paths[at])
end
"""


def seconds_for(host: str, paths: Sequence[str], *, accept: str, duration: int = 2) -> float:
    """Seconds that the server at ``host`` takes to answer GETs of all ``paths``, by its rate over ``duration`` seconds.

    Raises ValueError where it does not answer all of them well.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        listed, script = Path(folder) / "paths", Path(folder) / "script.lua"
        listed.write_text("\n".join(paths) + "\n", encoding="ascii")
        script.write_text(_SCRIPT.format(accept=accept, paths=listed), encoding="utf-8")
        options = ("--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{duration}s", "--script", str(script))
        output = run(["wrk", *options, f"http://{host}"]).output
    return len(paths) / rate(output)


def rate(output: str) -> float:
    """Requests a second that ``wrk`` tells of. Raises ValueError where some were not answered, or not well."""
    found = re.search(r"^Requests/sec:\s+([0-9.]+)$", output, re.MULTILINE)
    if found is None or "Non-2xx" in output or "Socket errors" in output:
        raise ValueError(f"wrk is not answered as it should be:\n{output}")
    return float(found[1])
