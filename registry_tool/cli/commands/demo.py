"""``demo``: the whole way, step by step."""

from __future__ import annotations

import html
import re
import shlex
from typing import TYPE_CHECKING

import click

from registry_tool.cli import options, program_name
from registry_tool.cli.session import Session
from registry_tool.cli.views.demo import DemoView

if TYPE_CHECKING:
    from registry_tool.base.dirs import AppDirs
    from registry_tool.demo.result import DemoResult


@click.command("demo")
@click.option("--image", metavar="USER/REPOSITORY:TAG", default="john/get-started:part2", show_default=True, help="Its name.")
@click.option(
    "-p",
    "--port",
    metavar="PORT",
    type=options.port_number,
    help="The page's port; the next free one from 4000 on where this is not given.",
)
@click.option(
    "--registry-port", metavar="PORT", type=options.port_number, help="The registry's port; as it is, or the next free one from 5000 on."
)
@click.option("--name", metavar="NAME", default="default", show_default=True, help="Which local registry.")
@click.option("--redis", is_flag=True, help="Go on with a real Redis beside it, and see the counter go 1, 2, 3.")
@click.option("--keep", is_flag=True, help="Leave the page's container running.")
@click.option("--purge", is_flag=True, help="Base layers that this tool brought go, too, so that the pull moves everything.")
@options.as_json
@click.pass_obj
def demo(session: Session, image: str, port: int | None, registry_port: int | None, name: str, redis: bool, keep: bool, purge: bool) -> int:
    """Start a registry, build the sample app, tag it, push it, remove it here, pull it back, run it, and look at its page.

    Every step is proven: the image is gone before it comes back, it comes back with the digest that was pushed, and the
    page names the container that was started from it.

    \b
    Examples:
      regctl demo
      regctl demo --redis --keep
    """
    # Loading the rest takes longer than the engine's answer.
    session.engine.prefetch_info()
    from registry_tool.demo.demo import DemoOptions
    from registry_tool.demo.demo import demo as run_demo

    demo_options = DemoOptions(image=image, port=port, registry=name, registry_port=registry_port, redis=redis, keep=keep, purge=purge)
    out = session.output
    with DemoView(out, progress=session.progress) as view:
        result = run_demo(session.engine, session.dirs, demo_options, observer=view, listener=view)
    if out.json:
        out.document(result.as_json())
    elif result.error is not None:
        out.print_error(result.error)
    else:
        out.lines(_summary(result, session.dirs, name))
    return result.error.exit_code if result.error else 0


def _summary(result: DemoResult, dirs: AppDirs, name: str) -> list[str]:
    """What was seen, what stays, how it goes, and what to try next."""
    me = program_name.command()
    reference = result.reference or ""
    lines = ["", *_page_lines(result), "", "What stays, and what removes it:"]
    stays = [
        (
            f"the registry at {result.registry_address}, with what was pushed",
            f"{me} down{'' if name == 'default' else f' --name {name}'} --volumes",
        ),
        (f"the image {reference}", f"{me} rmi {reference}"),
    ]
    bases = [base.name for base in result.images if base.ours]
    if bases:
        stays.append((f"base images: {', '.join(bases)}", f"{me} rmi {' '.join(bases)}"))
    if result.build_cache:
        stays.append((f"the build cache {result.build_cache}", f"{me} rmi {result.build_cache}"))
    stays.append((f"caches in {dirs.cache}", f"rm -r {shlex.quote(str(dirs.cache))}"))
    if result.kept:
        stays.insert(0, (f"the running page: {', '.join(result.kept)}", f"{me} rm -f {' '.join(result.kept)}"))
    for what, command in stays:
        lines += [f"  {what}", f"    {command}"]
    return [*lines, "", "Try next:", f"  {me} list-tags {_without_tag(reference)}"]


def _page_lines(result: DemoResult) -> list[str]:
    page = result.page_with_redis or result.page
    if page is None:
        return []
    lines = [f"{page.url} said:", *(f"  {line}" for line in _page_text(page.body))]
    if result.visits:
        lines.append(f"  (visits seen: {', '.join(map(str, result.visits))})")
    if result.kept:
        lines.append(f"It goes on running: {page.url}")
    return lines


def _page_text(body: str) -> list[str]:
    """A page's text without its tags."""
    text = re.sub(r"<br\s*/?>|</h3>|</p>", "\n", body)
    return [line for line in (html.unescape(re.sub(r"<[^>]*>", "", part)).strip() for part in text.splitlines()) if line]


def _without_tag(reference: str) -> str:
    return reference.rpartition(":")[0]
