"""``demo``: run the whole image life cycle, step by step."""

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
@click.option("--image", metavar="NAME:TAG", default="john/get-started:part2", show_default=True, help="Name of the image.")
@click.option("-p", "--port", metavar="PORT", type=options.port_number, help="Port of the page.  [default: first free from 4000]")
@click.option(
    "--registry-port",
    metavar="PORT",
    type=options.port_number,
    help="Port of the registry.  [default: its current one, or first free from 5000]",
)
@click.option("--name", metavar="NAME", default="default", show_default=True, help="Name of the local registry.")
@click.option("--redis", is_flag=True, help="Also run it with Redis, and check that it counts visits.")
@click.option("--keep", is_flag=True, help="Leave the container running.")
@click.option("--purge", is_flag=True, help="Remove the base layers, too, so that the pull transfers every layer.")
@options.as_json
@click.pass_obj
def demo(session: Session, image: str, port: int | None, registry_port: int | None, name: str, redis: bool, keep: bool, purge: bool) -> int:
    """Start a registry, build the sample app, tag it, push it, remove it from the engine, pull it, run it, and check its page.

    Every step is verified: the image is gone before it is pulled, it is pulled with the digest that was pushed, and the
    page shows the host name of the container that was started from it.

    \b
    Examples:
      regctl demo
      regctl demo --redis --keep
    """
    # Importing the rest takes longer than the engine's response.
    session.engine.prefetch_info()
    from registry_tool.demo.demo import DemoOptions
    from registry_tool.demo.demo import demo as run_demo

    demo_options = DemoOptions(image=image, port=port, registry=name, registry_port=registry_port, redis=redis, keep=keep, purge=purge)
    out = session.output
    with DemoView(out, progress=session.progress) as view:
        result = run_demo(session.engine, session.dirs, demo_options, observer=view, listener=view)
    if out.json:
        out.document(result)
    elif result.error is not None:
        out.print_error(result.error)
    else:
        out.lines(_summary(result, session.dirs, name))
    return result.error.exit_code if result.error else 0


def _summary(result: DemoResult, dirs: AppDirs, name: str) -> list[str]:
    """The page, what is left and how to remove it, and what to try next."""
    from registry_tool.local.registry.spec import name_option

    me = program_name.command()
    reference = result.reference or ""
    lines = ["", *_page_lines(result), "", "What is left, and how to remove it:"]
    remaining = [
        (
            f"the registry at {result.registry_address} with the pushed image",
            f"{me} down{name_option(name)} --volumes",
        ),
        (f"the image {reference}", f"{me} rmi {reference}"),
    ]
    bases = [base.name for base in result.images if base.imported]
    if bases:
        remaining.append((f"base images: {', '.join(bases)}", f"{me} rmi {' '.join(bases)}"))
    if result.build_cache:
        remaining.append((f"the build cache {result.build_cache}", f"{me} rmi {result.build_cache}"))
    remaining.append((f"caches in {dirs.cache}", f"rm -r {shlex.quote(str(dirs.cache))}"))
    if result.kept:
        network = f", and their network {result.kept_network}" if result.kept_network else ""
        remaining.insert(0, (f"the running containers: {', '.join(result.kept)}{network}", f"{me} rm -f {' '.join(result.kept)}"))
    for what, command in remaining:
        lines += [f"  {what}", f"    {command}"]
    return [*lines, "", "Try next:", f"  {me} list-tags {reference.rpartition(':')[0]}"]


def _page_lines(result: DemoResult) -> list[str]:
    page = result.page_with_redis or result.page
    if page is None:
        return []
    # The text of the page, without HTML tags.
    text = re.sub(r"<br\s*/?>|</h3>|</p>", "\n", page.body)
    shown = (html.unescape(re.sub(r"<[^>]*>", "", part)).strip() for part in text.splitlines())
    lines = [f"{page.url} shows:", *(f"  {line}" for line in shown if line)]
    if result.visits:
        lines.append(f"  (visits: {', '.join(map(str, result.visits))})")
    if result.kept:
        lines.append(f"Still running: {page.url}")
    return lines
