"""``verify``: run an image on clean engines, and report the results."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from registry_tool.base.errors import RegistryToolError, UsageError
from registry_tool.cli import completions, options
from registry_tool.cli.session import Session
from registry_tool.cli.views import verify as view
from registry_tool.verify import parsing

if TYPE_CHECKING:
    from registry_tool.oci.digest import Digest
    from registry_tool.verify.report.report import VerifyReport
    from registry_tool.verify.settings import VerifySettings
    from registry_tool.verify.spec import Probe, VerifySpec

Value = TypeVar("Value")
_FILE = click.Path(dir_okay=False, path_type=Path)
_ORDER, _ARGUMENTS = f"{__name__}.order", f"{__name__}.typed"
_GLOBAL_OPTIONS = {"registry": "--registry", "context": "--context"}
"""Options before the command that affect its result."""


def _converter(read: Callable[[str], Value]) -> Callable[[str], Value]:
    def convert(text: str) -> Value:
        try:
            return read(text)
        except ValueError as error:
            raise UsageError(str(error)) from None

    return convert


def _digest(text: str) -> Digest:
    from registry_tool.oci.digest import Digest

    return _converter(Digest.parse)(text)


class OrderedCommand(click.Command):
    """Records what only click's parser knows: which option follows which."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        typed = list(args)
        values, _, parameters = self.make_parser(ctx).parse_args(list(args))
        remaining = {name: iter(value if isinstance(value, (list, tuple)) else [value]) for name, value in values.items()}
        ctx.meta[_ORDER] = [
            (parameter.opts[-1], next(remaining[parameter.name or ""], ""))
            for parameter in parameters
            if isinstance(parameter, click.Option) and parameter.multiple
        ]
        ctx.meta[_ARGUMENTS] = typed
        return super().parse_args(ctx, args)


@click.command("verify", cls=OrderedCommand)
@click.argument("name", required=False, metavar="[NAME[:TAG][@DIGEST]]", shell_complete=completions.repositories)
@click.option(
    "--on",
    "engines",
    metavar="ENGINE",
    multiple=True,
    help="docker or podman (clean, in a container), context:NAME or here. May be repeated.  [default: docker]",
)
@click.option("--require", metavar="ENGINE", multiple=True, help="Fail unless it was verified on this engine.")
@click.option("--expect", metavar="DIGEST", type=_digest, help='Digest that the name must have, as "push -q" prints it.')
@click.option(
    "--http", metavar="PORT:PORT/PATH", multiple=True, help="HTTP request that must succeed: port here, port in the container, path."
)
@click.option("--expect-status", metavar="CODE", multiple=True, help="Expected status of the --http before it.  [default: any below 400]")
@click.option("--expect-text", metavar="TEXT", multiple=True, help="Text in the response of the --http before it.")
@click.option("--expect-json", metavar="PATH=VALUE", multiple=True, help="Value in the JSON response of the --http before it.")
@click.option("--within", metavar="TIME", multiple=True, help="Time limit for a response to the --http before it: 2s.")
@click.option("--tcp", metavar="PORT:PORT", multiple=True, help="Port that must accept connections.")
@click.option("--exec", metavar="COMMAND", multiple=True, help="Command in the container that must exit with 0.")
@click.option("--log", metavar="TEXT", multiple=True, help="Text that must be in its log.")
@click.option("--exit", metavar="CODE", multiple=True, help="Code that it must exit with.")
@click.option("--timeout", metavar="TIME", type=_converter(parsing.seconds), help="Time limit for all of these.  [default: 30s]")
@click.option("-e", "--env", metavar="KEY[=VALUE]", multiple=True, help="Set a variable; KEY alone takes its value from this shell.")
@click.option("--with", "services", type=click.Choice(["redis"]), multiple=True, help="Service to run beside it.")
@click.option("--replicas", metavar="N", type=click.IntRange(1, 100), help="Number of containers behind one port.")
@click.option("--stack", metavar="FILE", type=_FILE, help="Verify the services of a compose file together.")
@click.option(
    "--registry-as", metavar="HOST:PORT", type=_converter(parsing.host_port), help="Address of the registry as seen by a context:NAME."
)
@click.option("-o", "--output", metavar="FILE", type=_FILE, help="Write the report as JSON.")
@click.option("--junit", metavar="FILE", type=_FILE, help="Write a JUnit report.")
@click.option("--markdown", metavar="FILE", type=_FILE, help="Write a Markdown summary.")
@click.option("--show", metavar="FILE", type=_FILE, help="Show the report in FILE instead of verifying.")
@click.option("--against", metavar="FILE", type=_FILE, help="Show what changed since the report in FILE.")
@options.as_json
@click.pass_context
def verify(ctx: click.Context, /, name: str | None, output: Path | None, show: Path | None, against: Path | None, **given: Any) -> int:
    """Verify that the image NAME runs on a clean engine: pull it by digest, count the bytes, start it, probe it.

    Settings may also be in portability.toml in this folder; options take precedence. The exit code is 0 if all checks passed,
    1 if one failed, 3 if an engine is unavailable.

    \b
    Examples:
      regctl verify john/get-started:part2
      regctl verify --on podman --http 4000:80/ -o report.json john/get-started:part2
      regctl verify --show report.json
    """
    from registry_tool.verify.report.compare import compare
    from registry_tool.verify.report.report import VerifyReport

    session: Session = ctx.obj
    earlier = VerifyReport.read(against) if against else None
    if show is not None:
        if name is not None:
            raise UsageError(f"--show takes no name, and {name} was given", hint=f"Leave it out: regctl verify --show {show}")
        report = VerifyReport.read(show)
    else:
        report = _verify(ctx, session, name, given)
    if earlier is not None:
        report = replace(report, comparison=compare(earlier, report))
    report = _write_reports(report, output, given["junit"], given["markdown"])
    _render(session, report, shown=show is not None)
    return report.error.exit_code if report.error is not None else int(not report.ok)


def _verify(ctx: click.Context, session: Session, name: str | None, given: dict[str, Any]) -> VerifyReport:
    from registry_tool.verify import settings
    from registry_tool.verify.verify import verify as run_verify

    file = settings.load(Path.cwd())
    spec = _spec(ctx, session, name, given, file)
    listener = view.VerifyView(session.output, progress=session.progress)
    with listener:
        return run_verify(
            session.engine,
            spec,
            given["engines"] or file.engines,
            dirs=session.dirs,
            require=given["require"] or (() if given["engines"] else file.require),
            command=_command_line(ctx, given["env"]),
            observer=listener,
            listener=listener,
        )


def _spec(ctx: click.Context, session: Session, name: str | None, given: dict[str, Any], file: VerifySettings) -> VerifySpec:
    """The options and, where one is missing, ``file``. Raises UsageError."""
    from registry_tool.verify.spec import VerifySpec

    probes = _probes(ctx.meta[_ORDER]) or file.probes
    named = name or file.image
    if named is None:
        raise UsageError("verify needs a name, or a portability.toml with one", hint="For example: regctl verify john/get-started:part2")
    # Options for a stack replace all of the file's.
    if given["stack"] or given["services"] or given["replicas"]:
        file = replace(file, stack=None, services=(), replicas=None)
    optional: dict[str, Any] = {
        "timeout": given["timeout"] or file.timeout,
        "stop_within": file.stop_within,
        "replicas": given["replicas"] or file.replicas,
    }
    return VerifySpec(
        image=session.reference(named).or_latest(),
        expect=given["expect"] or file.expect,
        probes=probes,
        environment={**file.environment, **options.key_value_pairs(given["env"], "-e", os.environ)},
        redis="redis" in (given["services"] or file.services),
        stack=given["stack"] or file.stack,
        limits=file.limits,
        registry_as=given["registry_as"] or file.registry_as,
        **{key: value for key, value in optional.items() if value is not None},
    )


def _probes(typed: list[tuple[str, str]]) -> tuple[Probe, ...]:
    """The probes in their order, each ``--http`` with the options that follow it. Raises UsageError."""
    from registry_tool.verify.spec import Exec, Exit, Http, Log, Tcp

    probes: list[Probe] = []
    kinds: dict[str, Callable[[str], Probe]] = {
        "--http": Http.parse,
        "--tcp": Tcp.parse,
        "--exec": Exec.parse,
        "--log": lambda text: Log(text=text),
        "--exit": lambda text: Exit(code=_number(text, "an exit code")),
    }
    http_options: dict[str, Callable[[Http, str], Http]] = {
        "--expect-status": lambda page, text: replace(page, status=_number(text, "an HTTP status")),
        "--expect-text": lambda page, text: replace(page, text=(*page.text, text)),
        "--expect-json": lambda page, text: page.expecting(json=text),
        "--within": lambda page, text: replace(page, within=_converter(parsing.seconds)(text)),
    }
    for option, text in typed:
        if option in kinds:
            probes.append(kinds[option](text))
        elif option in http_options:
            page = probes[-1] if probes else None
            if not isinstance(page, Http):
                raise UsageError(f"{option} needs an --http before it", hint=f"--http 4000:80/ {option} …")
            probes[-1] = http_options[option](page, text)
    return tuple(probes)


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"{text[:80]!r} is not {what}")
    return int(text)


def _write_reports(report: VerifyReport, output: Path | None, junit: Path | None, markdown: Path | None) -> VerifyReport:
    """Write the files; return ``report``, with an error if that failed. The JSON file is last, so that it has the error."""
    from registry_tool.cli.views.junit import verify_junit
    from registry_tool.cli.views.markdown import markdown as page
    from registry_tool.verify.report.report import Failure, write

    renderings: tuple[tuple[Path | None, Callable[[VerifyReport], bytes]], ...] = (
        (junit, verify_junit),
        (markdown, lambda report: page(report).encode(errors="replace")),
        (output, lambda report: report.as_bytes()),
    )
    for path, rendered in renderings:
        if path is None:
            continue
        try:
            write(path, rendered(report))
        except RegistryToolError as error:
            report = replace(report, error=report.error or Failure.of(error))
    return report


def _render(session: Session, report: VerifyReport, *, shown: bool) -> None:
    out = session.output
    if out.json:
        out.document(report.as_json())
        return
    if shown:
        view.render_environments(out, report)
    if report.comparison is not None:
        view.render_changes(out, report.comparison)
    view.render_summary(out, report)
    if report.error is not None:
        error = report.error
        out.print_error(RegistryToolError(error.message, hint=error.hint, excerpt=error.excerpt))


def _command_line(ctx: click.Context, secrets: Sequence[str]) -> str:
    """The command line, with only the key of each ``KEY=VALUE`` in ``secrets``."""
    words = list(ctx.meta[_ARGUMENTS])
    for secret in secrets:
        key, equals, _ = secret.partition("=")
        # A separate word (-e KEY=VALUE), or joined to its option (-eKEY=VALUE, --env=KEY=VALUE).
        words = [f"{word.removesuffix(secret)}{key}=…" if equals and word.endswith(secret) else word for word in words]
    before: list[str] = []
    if ctx.parent is not None:
        for name, option in _GLOBAL_OPTIONS.items():
            if ctx.parent.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                before += [option, str(ctx.parent.params[name])]
    return f"regctl {shlex.join([*before, ctx.command.name or '', *words])}"
