"""One invocation: the options before the command, and what a command needs, got when it is first asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from registry_tool.base.errors import ConfirmationRequired, Conflict, NotFound, RegistryToolError
from registry_tool.base.progress import Observer
from registry_tool.cli.output import Output
from registry_tool.cli.views.progress import ProgressView, progress_view

if TYPE_CHECKING:
    from registry_tool.base.dirs import AppDirs
    from registry_tool.content.listing import Cache
    from registry_tool.engine import Engine


class Session:
    """``registry`` is what ``--registry`` named; ``progress`` is off with ``--no-progress``."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.context: str | None = None
        self.registry: str | None = None
        self.debug = False
        self.progress = True

    @cached_property
    def engine(self) -> Engine:
        """The engine, found as docker finds it. Raises EngineNotFound, EngineNotPermitted, Unreachable."""
        from registry_tool.engine import connect

        return connect(context=self.context)

    @cached_property
    def dirs(self) -> AppDirs:
        """The folders of state and cache; their warning is printed once."""
        from registry_tool.base.dirs import app_dirs

        dirs = app_dirs()
        if dirs.warning:
            self.output.note(dirs.warning)
        return dirs

    def registry_host(self) -> str | None:
        """The local registry's ``HOST:PORT``: named by ``--registry``, or the one that ``up`` started; None where there is none.

        Where several are there, the one named ``default``; raises Conflict where none of them is.
        """
        if self.registry is not None:
            return self.registry
        from registry_tool.local import registry as local_registry

        found = local_registry.find_all(self.engine)
        if not found:
            return None
        for registry in found:
            if registry.name == "default":
                return registry.address
        if len(found) > 1:
            raise Conflict(
                f"{len(found)} registries are here, and none is named default: {', '.join(sorted(each.name for each in found))}",
                hint=f"Say which: --registry {found[0].address}",
            )
        return found[0].address

    def observer(self, *, quiet: bool = False, counting: bool = False) -> ProgressView:
        """The observer for one piece of work, to be used as a ``with`` block. ``counting``: it tells of things, not of bytes."""
        return progress_view(progress=self.progress, quiet=quiet, counting=counting)

    @contextmanager
    def content_cache(self, observer: Observer) -> Iterator[Cache]:
        """Manifests and configs of earlier runs, for a ``with`` block; nothing where there is no place for them."""
        from registry_tool.content.listing import NoCache
        from registry_tool.targets.cache import ContentCache

        try:
            path = self.dirs.cache / "contents.sqlite"
        except OSError as error:
            observer.note(f"nothing is kept for the next time: {error.strerror or error}")
            yield NoCache()
            return
        with ContentCache(path, observer) as shelf:
            yield shelf

    def confirm(self, plan: Sequence[str], *, yes: bool) -> bool:
        """Show what goes, and ask. Raises Refused where there is no terminal to ask on and no ``--yes``."""
        if yes:
            return True
        for line in plan:
            self.output.note(line)
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ConfirmationRequired("this removes things, and there is no terminal to ask on", hint="Add --yes to go ahead.")
        import click

        if click.confirm("Go ahead?", err=True):
            return True
        self.output.note("Nothing was removed.")
        return False

    def for_each(self, names: Sequence[str], act: Callable[[str], None], *, missing_ok: bool = False) -> list[RegistryToolError]:
        """Do ``act`` for every name, whatever becomes of the others, as docker does; the failures are returned, and told.

        With ``missing_ok`` what is not there is no failure. What cannot be reached ends it at once.
        """
        failures: list[RegistryToolError] = []
        for name in names:
            try:
                act(name)
            except NotFound as error:
                if not missing_ok:
                    failures.append(error)
            except RegistryToolError as error:
                if error.exit_code != 1:
                    raise
                failures.append(error)
        if not self.output.json:
            for failure in failures:
                self.output.print_error(failure)
        return failures

    def close(self) -> None:
        """Let the engine go, where there is one."""
        if "engine" in self.__dict__:
            self.engine.close()
