"""One invocation: the options before the command, and lazily what commands share: engine, folders, registry."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from registry_tool.base.errors import ConfirmationRequired, Conflict, NotFound, RegistryToolError, RegistryUnreachable, UsageError
from registry_tool.base.progress import Observer
from registry_tool.cli.output import Output
from registry_tool.cli.views.progress import ProgressLines, progress_view

if TYPE_CHECKING:
    from registry_tool.base.dirs import AppDirs
    from registry_tool.content.undo import Journal
    from registry_tool.engine import Engine
    from registry_tool.oci.reference import Reference
    from registry_tool.targets.cache import Cache
    from registry_tool.targets.layer_cache import LayerCache
    from registry_tool.targets.registry import Registry


class Session:
    """``registry`` is the value of ``--registry``; ``progress`` is False with ``--no-progress``.

    ``exit_codes`` are those of the command that was typed, where they are not its errors' own.
    """

    def __init__(self, output: Output) -> None:
        self.output = output
        output.explain = self.explain
        self.context: str | None = None
        self.registry: str | None = None
        self.debug = False
        self.progress = True
        self.exit_codes: Mapping[str, int] = {}
        self.plain_http: bool | None = None
        self.insecure: bool | None = None
        self.auth_file: Path | None = None

    def exit_code(self, error: RegistryToolError) -> int:
        """The exit code of a command that ends with ``error``."""
        return self.exit_codes.get(error.code, self.exit_codes.get("", error.exit_code))

    @cached_property
    def engine(self) -> Engine:
        """The engine, found as docker finds it. Raises EngineNotFound, EngineNotPermitted, Unreachable."""
        from registry_tool.engine import connect

        engine = connect(context=self.context)
        engine.auth_file = self.auth_file
        return engine

    @cached_property
    def dirs(self) -> AppDirs:
        """The folders of state and cache; their warning is printed once."""
        from registry_tool.base.dirs import app_dirs

        dirs = app_dirs()
        if dirs.warning:
            self.output.note(dirs.warning)
        return dirs

    def registry_host(self, *names: str) -> str | None:
        """``HOST:PORT`` of ``--registry``, else of the local registry; None where there is none, or where all ``names`` have a host.

        Of several it is the one named ``default``. Raises Conflict where none of them is.
        """
        if self.registry is not None:
            return self.registry
        from registry_tool.local import registry as local_registry
        from registry_tool.oci.reference import has_host

        if names and all(map(has_host, names)):
            return None

        everything = local_registry.find_all(self.engine)
        registries = tuple(each for each in everything if each.proxy is None) or everything  # a proxy takes no pushes
        default = next((registry for registry in registries if registry.name == "default"), registries[0] if registries else None)
        if default is not None and default.name != "default" and len(registries) > 1:
            raise Conflict(
                f"{len(registries)} registries are running, none named default: {', '.join(sorted(each.name for each in registries))}",
                hint=f"Choose one: --registry {default.address}",
            )
        return default.address if default else None

    def required_registry_host(self, hint: str = "Start one with: regctl up") -> str:
        """As :meth:`registry_host`; raises RegistryUnreachable where there is none."""
        host = self.registry_host()
        if host is None:
            raise RegistryUnreachable("no local registry is running", hint=hint)
        return host

    def reference(self, name: str) -> Reference:
        """The image or repository ``name`` in a registry. Raises InvalidReference, RegistryUnreachable, Conflict."""
        from registry_tool.oci.reference import Reference, has_host

        # An invalid name is reported before the engine is asked for its registry.
        reference = Reference.parse(name, default_host="localhost")
        return reference if has_host(name) else Reference.parse(name, default_host=self.required_registry_host())

    def repository(self, name: str, command: str) -> Reference:
        """As :meth:`reference`, for a repository. Raises UsageError where ``name`` has a tag or a digest."""
        reference = self.reference(name)
        if reference.tag is not None or reference.digest is not None:
            raise UsageError(f"{name} is an image, and a repository is needed", hint=f"Try: regctl {command} {reference.repository}")
        return reference

    def connect_engine(self) -> Engine:
        """Return the engine, which is connected now if it was not before."""
        return self.engine

    def open_registry(self, host: str) -> Registry:
        """Open the registry at ``host`` as the options say; its warnings are printed. To be closed. Raises UsageError."""
        from registry_tool.targets.registry import open_registry

        return open_registry(
            host, plain_http=self.plain_http, insecure=self.insecure, auth_file=self.auth_file, on_warning=self.output.note
        )

    @property
    def uploads_folder(self) -> Path | None:
        """Where uploads under way are kept, None where nothing can be."""
        try:
            return self.dirs.state / "uploads"
        except OSError:
            return None

    def undo_journal(self) -> Journal:
        """The journal of what is deleted. Raises RegistryToolError where there can be none."""
        from registry_tool.content.undo import Journal

        try:
            return Journal(self.dirs.state / "undo")
        except OSError as error:
            raise RegistryToolError(
                f"what is deleted cannot be kept for undo: {error.strerror or error}; nothing was deleted", hint="Add --no-undo."
            ) from error

    def observer(self, *, quiet: bool = False, counting: bool = False) -> ProgressLines:
        """The observer of one task, as a context manager. ``counting``: totals are numbers of things, not bytes."""
        return progress_view(progress=self.progress, quiet=quiet, counting=counting)

    @contextmanager
    def content_cache(self, observer: Observer) -> Iterator[Cache]:
        """Open the cache of manifests and configs; one that stores nothing where its folder cannot be used."""
        from registry_tool.targets.cache import ContentCache, NoCache

        try:
            path = self.dirs.cache / "contents.sqlite"
        except OSError as error:
            observer.note(f"the cache cannot be used: {error.strerror or error}")
            yield NoCache()
            return
        with ContentCache(path, observer) as cache:
            yield cache

    @contextmanager
    def layer_cache(self, observer: Observer) -> Iterator[LayerCache]:
        """Open the cache of compressed layers; one that stores nothing where its folder cannot be used."""
        from registry_tool.targets.layer_cache import LayerCache

        try:
            path: Path | None = self.dirs.cache / "layers.sqlite"
        except OSError as error:
            observer.note(f"the cache cannot be used: {error.strerror or error}")
            path = None
        with LayerCache(path, observer) as cache:
            yield cache

    def confirm(self, plan: Sequence[str], *, yes: bool, otherwise: str = "Nothing was removed.") -> bool:
        """Show the plan and ask; ``otherwise`` is printed where the answer is no.

        Raises ConfirmationRequired where there is neither ``--yes`` nor a terminal.
        """
        if yes:
            return True
        for line in plan:
            self.output.note(line)
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ConfirmationRequired("confirmation is required, and there is no terminal to ask on", hint="Confirm with --yes.")
        import click

        if click.confirm("Go ahead?", err=True):
            return True
        self.output.note(otherwise)
        return False

    def for_each(self, names: Sequence[str], act: Callable[[str], Sequence[str]], *, missing_ok: bool = False) -> list[RegistryToolError]:
        """Call ``act`` for every name, as docker does also after one failed; print the lines it returns. Print and return the failures.

        With ``missing_ok`` NotFound is no failure. Errors with another exit code than 1 are raised at once.
        """
        failures: list[RegistryToolError] = []
        for name in names:
            try:
                lines = act(name)
                if not self.output.json:
                    self.output.lines(lines)
            except RegistryToolError as error:
                if error.exit_code != 1:
                    raise
                if not (missing_ok and isinstance(error, NotFound)):
                    failures.append(error)
        if not self.output.json:
            for failure in failures:
                self.output.print_error(failure)
        return failures

    def explain(self, error: RegistryToolError) -> RegistryToolError:
        """``error``, or a clearer one where a proxy on this engine refused to be written to."""
        from registry_tool.local import registry as local_registry

        cause = error.__cause__ if isinstance(error.__cause__, RegistryToolError) else error
        response = error.response or cause.response
        words = ("unsupported", "HTTP 405")  # docker's, of a proxy and of its stand-in without an upstream
        by_engine = error.code == "push-failed" and any(word in error.message for word in words)
        is_refused = response.status == 405 if response is not None else by_engine
        if not is_refused:
            return error
        with suppress(RegistryToolError):
            for registry in local_registry.find_all(self.engine):
                if registry.proxy and any(f"{host}:{registry.port}" in error.message for host in (registry.host, "127.0.0.1")):
                    return Conflict(
                        f"{registry.address} is a proxy of {registry.proxy}: it takes no pushes, and deletes nothing",
                        hint=f"Change it there, in {registry.proxy}, or take another registry: see regctl status.",
                    )
        return error

    def close(self) -> None:
        """Close the engine's client, if it was opened."""
        if "engine" in self.__dict__:
            self.engine.close()
