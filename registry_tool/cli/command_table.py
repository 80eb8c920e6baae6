"""The table of commands: name, module, group and summary. Help needs no module of a command.

The module is imported when the command is called. Docker's ``container ls`` and ``image rm`` are the same commands.
"""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click

from registry_tool.base.errors import UsageError


class Entry(NamedTuple):
    """``module`` is in ``cli/commands/``; the command is its attribute of the command's name, with ``_`` for ``-`` and behind a keyword.

    ``exit_codes`` is error code -> exit code, "" for all others, of a command whose exit codes are otherwise a container's.
    """

    module: str
    group: str
    summary: str
    exit_codes: Mapping[str, int] = {}


VERIFICATION, REGISTRY, IMAGE = "Demo and verification", "Local registry", "Images and containers"
CONTENT, MOVING, SHELL = "Registry content", "Moving images", "Shell"
DOCKERS_EXIT_CODES = {"": 125, "command-not-executable": 126, "command-not-found": 127}
"""Of ``docker run``, where a container did not run."""

COMMANDS = {
    "demo": Entry("demo", VERIFICATION, "Run the whole image life cycle once and verify each step."),
    "verify": Entry("verify", VERIFICATION, "Verify an image on a clean engine and write a report."),
    "up": Entry("registry", REGISTRY, "Start the local registry, if it is not running."),
    "down": Entry("registry", REGISTRY, "Remove the local registry's container; keep its content."),
    "status": Entry("registry", REGISTRY, "Show whether the local registry runs, and its address."),
    "doctor": Entry("doctor", REGISTRY, "Check engine, registry and network; mend what is safe."),
    "user": Entry("user", REGISTRY, "Add, remove or list the users of the local registry."),
    "trust": Entry("trust", REGISTRY, "Show or write what clients need to trust a registry."),
    "connect": Entry("connect", REGISTRY, "Let a local Kubernetes cluster pull from the local registry."),
    "logs": Entry("registry", REGISTRY, "Print the logs of the local registry or a container."),
    "build": Entry("build", IMAGE, "Build an image from a Dockerfile."),
    "tag": Entry("image", IMAGE, "Tag an image for the local registry."),
    "push": Entry("image", IMAGE, "Push an image to the local registry."),
    "pull": Entry("image", IMAGE, "Pull an image from the local registry."),
    "run": Entry("run", IMAGE, "Run an image; pull it if the engine does not have it.", DOCKERS_EXIT_CODES),
    "exec": Entry("run", IMAGE, "Run a command in a running container."),
    "ps": Entry("container", IMAGE, "List containers."),
    "start": Entry("container", IMAGE, "Start stopped containers."),
    "stop": Entry("container", IMAGE, "Stop containers."),
    "restart": Entry("container", IMAGE, "Stop containers and start them again."),
    "kill": Entry("container", IMAGE, "Kill containers, or send them another signal."),
    "rm": Entry("container", IMAGE, "Remove containers."),
    "images": Entry("image", IMAGE, "List images."),
    "rmi": Entry("image", IMAGE, "Remove images."),
    "login": Entry("login", IMAGE, "Log in to a registry and store the credentials."),
    "logout": Entry("login", IMAGE, "Remove stored credentials for a registry."),
    "list-tags": Entry("list_tags", CONTENT, "List the tags of a repository with digest, age and size."),
    "catalog": Entry("catalog", CONTENT, "List the repositories of a registry."),
    "inspect": Entry("inspect", CONTENT, "Show manifest, config and layers of an image in a registry."),
    "du": Entry("du", CONTENT, "Show where the bytes of a registry are."),
    "check": Entry("check", CONTENT, "Check that every image in a registry is complete."),
    "delete": Entry("delete", CONTENT, "Delete tags and images in a registry, after showing the plan."),
    "prune": Entry("prune", CONTENT, "Delete the tags that no rule keeps, after showing the plan."),
    "protect": Entry("protect", CONTENT, "Protect tags from deletion, or list protections."),
    "unprotect": Entry("protect", CONTENT, "Remove protections of tags."),
    "undo": Entry("undo", CONTENT, "Restore what was deleted, or list what can be."),
    "gc": Entry("gc", CONTENT, "Free the space of what no tag needs in the local registry."),
    "copy": Entry("copy", MOVING, "Copy images from one place to another."),
    "export": Entry("export", MOVING, "Write images to an archive or an image layout."),
    "import": Entry("import_", MOVING, "Push the images of an archive or an image layout."),
    "sync": Entry("sync", MOVING, "Mirror repositories by the rules in a file."),
    "bundle": Entry("bundle", MOVING, "Make, verify and apply a kit for machines without a network."),
    "completion": Entry("completion", SHELL, "Print the completion script for bash, zsh or fish."),
    "help": Entry("help", SHELL, "Print the help of a command."),
    "version": Entry("help", SHELL, "Print the versions of this tool, the engine and the registry."),
}

MANAGEMENT_COMMANDS = {
    "container": {"ls": "ps", "list": "ps"}
    | {name: name for name in ("ps", "run", "exec", "start", "stop", "restart", "kill", "rm", "logs")},
    "image": {"ls": "images", "list": "images", "rm": "rmi", "build": "build", "tag": "tag", "push": "push", "pull": "pull"},
}
"""Docker's management commands, hidden from help."""

ALIASES = {"save": "export", "load": "import"}
"""Docker's words for the same commands."""

SUGGESTIONS = {
    "ls": "regctl list-tags NAME",
    "tags": "regctl list-tags NAME",
    "repo": "regctl catalog",
    "digest": "regctl inspect -q NAME (it prints sha256:…)",
    "manifest": "regctl inspect --raw NAME",
    "cp": "regctl copy SOURCE DESTINATION",
    "mirror": "regctl sync FILE",
    "garbage-collect": "regctl gc",
    "config": "regctl inspect --config NAME",
    "diagnose": "regctl doctor",
    "docker": "the same without the word docker",
}
"""Commands of crane, skopeo and regclient's regctl, and ours for the same purpose."""


_SUBCOMMAND = f"{__name__}.called"


class CommandGroup(click.Group):
    """A group of commands: ``names`` maps what is typed to a name in :data:`COMMANDS`."""

    def __init__(self, *, names: dict[str, str], **options: Any) -> None:
        super().__init__(invoke_without_command=True, **options)
        self.names = names

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = self.names.get(cmd_name)
        return load(name) if name else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            raise UsageError(f"there is no command {name!r}", hint=_did_you_mean(ctx, name, list(self.names)))
        resolved = super().resolve_command(ctx, args)
        if resolved[1] is not None:
            if ctx.obj is not None and (entry := COMMANDS.get(self.names.get(name, ""))) is not None:
                ctx.obj.exit_codes = entry.exit_codes
            ctx.meta[_SUBCOMMAND] = click.Context(resolved[1], parent=ctx, info_name=resolved[0])
        return resolved

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            # An option without its value is reported by click's parser without the context of its command.
            error.ctx = error.ctx or ctx.meta.get(_SUBCOMMAND)
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(typed, COMMANDS[name].summary) for typed, name in self.names.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Root(CommandGroup):
    """The program's root command; its help lists the table in groups."""

    def __init__(self, **options: Any) -> None:
        settings = {"help_option_names": ["-h", "--help"]}
        super().__init__(names={name: name for name in COMMANDS} | ALIASES, context_settings=settings, **options)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        names = MANAGEMENT_COMMANDS.get(cmd_name)
        return CommandGroup(names=names, name=cmd_name, hidden=True, callback=print_help) if names else super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for group in dict.fromkeys(entry.group for entry in COMMANDS.values()):
            with formatter.section(group):
                formatter.write_dl([(name.ljust(width), entry.summary) for name, entry in COMMANDS.items() if entry.group == group])


def load(name: str) -> click.Command:
    """Import the command ``name``."""
    module = import_module(f"registry_tool.cli.commands.{COMMANDS[name].module}")
    attribute = name.replace("-", "_")
    command: click.Command = getattr(module, f"{attribute}_" if keyword.iskeyword(attribute) else attribute)
    return command


@click.pass_context
def print_help(ctx: click.Context) -> None:
    """Print the help if no command follows."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _did_you_mean(ctx: click.Context, typed: str, names: list[str]) -> str:
    if typed in SUGGESTIONS:
        return f"Did you mean: {SUGGESTIONS[typed]}?"
    import difflib

    similar = difflib.get_close_matches(typed, names, n=3, cutoff=0.6)
    if similar:
        path = ctx.command_path.partition(" ")[2]
        return f"Did you mean: {' or '.join(' '.join(filter(None, ('regctl', path, name))) for name in similar)}?"
    return "See: regctl --help"
