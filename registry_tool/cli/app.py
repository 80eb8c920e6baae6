"""The program ``regctl``: parses the options before the command, calls the command, and prints errors.

``regctl --help`` must not wait for the libraries of the engine and the network: only click and light packages of our own are
imported here, the module of a command when it is called.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

import registry_tool
from registry_tool.base.errors import RegistryToolError, UsageError
from registry_tool.cli import options, program_name
from registry_tool.cli.command_table import Root
from registry_tool.cli.output import Output, OutputClosed, discard_stdout
from registry_tool.cli.session import Session

INTERRUPTED = 130
VERSIONS_TIMEOUT = 3.0
"""Seconds for engine and registry together: an engine that hangs must not block ``--version``."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, raised like Ctrl-C so that clean-up runs and the terminal is restored."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Raises nothing but ``SystemExit``, for shell completion."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _prepare_streams()
    session = Session(Output())
    try:
        with _terminating_signals():
            return _run(session, arguments)
    except OutputClosed:
        # So that the interpreter's last flush does not fail.
        discard_stdout()
        return 1


def _prepare_streams() -> None:
    """Open closed standard streams on the null device; replace characters that a stream cannot encode."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - until the process ends
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _run(session: Session, arguments: list[str]) -> int:
    output = session.output
    try:
        code = _call(session, arguments)
        output.flush()
        return code
    except click.UsageError as error:
        # The error may precede --json on the command line.
        output.json |= "--json" in arguments and error.ctx is not None and any(p.name == "json" for p in error.ctx.command.params)
        hint = f"See {error.ctx.command_path if error.ctx else 'regctl'} --help"
        return _report(session, UsageError(error.format_message().replace("\n", " "), hint=hint))
    except click.ClickException as error:
        return _report(session, RegistryToolError(error.format_message()))
    except RegistryToolError as error:
        return _report(session, error)
    except (KeyboardInterrupt, click.Abort) as error:
        output.note("interrupted")
        return 128 + error.number if isinstance(error, Terminated) else INTERRUPTED
    except (OutputClosed, BrokenPipeError) as error:
        # click writes its help past our output.
        raise OutputClosed from error
    except OSError as error:
        try:
            # click writes its help past our output.
            output.flush()
        except RegistryToolError as write_error:
            return _report(session, write_error)
        # It was not handled below: a folder that cannot be written, a full disk.
        where = f": {error.filename}" if error.filename else ""
        hint = "--debug before the command shows where it happened."
        return _report(session, RegistryToolError(f"{error.strerror or error}{where}", hint=hint))
    except Exception as error:  # noqa: BLE001 - a bug is reported in one line, too
        how = ", with the traceback above." if session.debug else "; --debug before the command shows where it happened."
        message = f"this is a bug: {type(error).__name__}: {error}"
        return _report(session, RegistryToolError(message, hint=f"Please report it{how}"))
    finally:
        session.close()


def _call(session: Session, arguments: list[str]) -> int:
    name = program_name.name()
    if instruction := os.environ.get(completion_variable(name)):
        # The shell's script asks for completions.
        from click.shell_completion import shell_complete

        raise SystemExit(shell_complete(root, {"obj": session}, name, completion_variable(name), instruction))
    try:
        with root.make_context(name, arguments, obj=session) as context:
            code = root.invoke(context)
            return code if isinstance(code, int) else 0
    except click.exceptions.Exit as ended:
        return ended.exit_code


def _report(session: Session, error: RegistryToolError) -> int:
    if session.debug:
        import traceback

        traceback.print_exc()
    try:
        session.output.report_error(error)
        session.output.flush()
    except RegistryToolError as write_error:
        session.output.print_error(write_error)
    return session.exit_code(error)


def completion_variable(name: str) -> str:
    """The environment variable of the completion script of the program ``name``."""
    return f"_{name.replace('-', '_').upper()}_COMPLETE"


@contextmanager
def _terminating_signals() -> Iterator[None]:
    """Raise :class:`Terminated` for SIGTERM and SIGHUP in the block; only possible in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    before = [signal.signal(number, _terminate) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)


@click.command(
    cls=Root,
    epilog="Exit codes: 0 success, 1 failure, 2 wrong usage, 3 engine or registry unreachable, 130 interrupted.",
)
@click.option(
    "--registry",
    metavar="HOST:PORT",
    envvar="REGISTRY_TOOL_REGISTRY",
    show_envvar=True,
    type=options.registry_host,
    help="Registry for names without a host.  [default: the local one]",
)
@click.option("-c", "--context", metavar="NAME", help="Docker context of the engine to use.")
@click.option("--debug", is_flag=True, help="Show requests to registries, and the traceback of an error.")
@click.option("--no-progress", is_flag=True, help="Do not show progress.")
@click.option("--version", is_flag=True, help="Print the versions of this tool, the engine and the registry.")
@click.pass_context
def root(ctx: click.Context, registry: str | None, context: str | None, debug: bool, no_progress: bool, version: bool) -> None:
    """Run a local registry and take images through their life cycle: build, tag, push, remove, pull, run.

    \b
    Start with:
      regctl demo
    """
    session: Session = ctx.obj
    session.registry, session.context, session.debug, session.progress = registry, context, debug, not no_progress
    if debug:
        ctx.with_resource(_log_requests(session.output))
    if version:
        print_versions(session)
        ctx.exit()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@contextmanager
def _log_requests(output: Output) -> Iterator[None]:
    """Print the log of :mod:`registry_tool.transport.tracing`, which has no secrets, as notes during the block."""
    import logging

    class NoteHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            output.note(record.getMessage())

    # By its name, as transport is imported only by commands that need a registry.
    logger = logging.getLogger("registry_tool.transport")
    handler, before = NoteHandler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def print_versions(session: Session) -> None:
    """Print three lines; an engine or a registry that is missing is no error."""
    versions: dict[str, str] = {}
    thread = threading.Thread(target=_query_versions, args=(session, versions), daemon=True)
    thread.start()
    thread.join(VERSIONS_TIMEOUT)
    session.output.line(f"{program_name.name()} {registry_tool.__version__}")
    session.output.line(f"engine: {versions.get('engine', f'no response within {VERSIONS_TIMEOUT:g} s')}")
    session.output.line(f"registry: {versions.get('registry', 'unknown')}")


def _query_versions(session: Session, versions: dict[str, str]) -> None:
    from registry_tool.local import registry as local_registry

    try:
        engine = session.engine
        info = engine.info
        versions["engine"] = f"{info.product} {info.version} ({info.platform}, {engine.endpoint.url})"
        running = next((registry for registry in local_registry.find_all(engine) if registry.running), None)
        if running is None:
            versions["registry"] = "none running"
            return
        _, output = engine.execute(running.container_id, ["registry", "--version"])
        version = re.search(rb"\d+\.\d+\.\d+\S*", output)
        versions["registry"] = f"{version[0].decode() if version else 'unknown version'} ({running.image}, {running.address})"
    except RegistryToolError as error:
        versions.setdefault("engine", f"none ({error.message})")
