"""A command that records the order of its options and the command line."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource

_ORDER, _ARGUMENTS = f"{__name__}.order", f"{__name__}.typed"
_GLOBAL_OPTIONS = {"registry": "--registry", "context": "--context"}
"""Options before the command that affect its result."""


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


def repeated_options(ctx: click.Context) -> list[tuple[str, Any]]:
    """(long name, value as typed) of all repeatable options, in the order of the command line."""
    options: list[tuple[str, Any]] = ctx.meta[_ORDER]
    return options


def command_line(ctx: click.Context, secrets: Sequence[str]) -> str:
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
