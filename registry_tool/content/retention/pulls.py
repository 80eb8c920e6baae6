"""When images were pulled, by the access log of a registry (distribution writes Apache's combined format). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import unquote

from registry_tool.base import USER_AGENT

_ACCESS = re.compile(
    r'\[(?P<time>[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9:]{8} [+-][0-9]{4})\] "(?P<method>[A-Z]+) /v2/(?P<name>[^ "]+)/manifests/'
    r'(?P<reference>[^ "/]+) HTTP/[0-9.]+" (?P<status>[0-9]{3}) [0-9-]+ "[^"]*" "(?P<agent>[^"]*)"'
)
_REQUEST = re.compile(r'\] "[A-Z]+ /v2/[^ "]* HTTP/[0-9.]+" [0-9]{3} ')
_PROGRAM = USER_AGENT.partition("/")[0] + "/"


@dataclass(frozen=True, kw_only=True)
class PullLog:
    """The pulls since ``since``: (repository, tag or digest) -> the last one."""

    since: datetime
    pulls: dict[tuple[str, str], datetime] = field(default_factory=dict)

    def last(self, repository: str, references: Iterable[str]) -> datetime | None:
        """When one of ``references`` was pulled last."""
        moments = (self.pulls.get((repository, reference)) for reference in references)
        return max((moment for moment in moments if moment is not None), default=None)


def read_log(lines: Iterable[tuple[datetime, str]]) -> PullLog | str:
    """The pulls in ``lines`` (time of writing, text), oldest first; or why the log does not tell.

    A GET or HEAD of a manifest counts, unless this program sent it. ``since`` is the time of the first line.
    """
    since: datetime | None = None
    pulls: dict[tuple[str, str], datetime] = {}
    is_access_log = False
    for moment, line in lines:
        since = since or moment
        is_access_log = is_access_log or _REQUEST.search(line) is not None
        match = _ACCESS.search(line)
        if match is None:
            continue
        if match["method"] not in ("GET", "HEAD") or not match["status"].startswith("2") or match["agent"].startswith(_PROGRAM):
            continue
        key = match["name"], unquote(match["reference"])
        pulls[key] = max(moment, pulls.get(key, moment))
    if since is None:
        return "the registry's log is empty"
    return PullLog(since=since, pulls=pulls) if is_access_log else "the registry's log has no requests: its access log may be off"
