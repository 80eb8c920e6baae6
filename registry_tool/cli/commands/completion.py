"""``completion``: print a shell's completion script."""

from __future__ import annotations

import click

from registry_tool.cli import program_name
from registry_tool.cli.session import Session


@click.command("completion")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_obj
def completion(session: Session, shell: str) -> None:
    """Print the completion script for SHELL, for this program under the name it was called by.

    \b
    Examples:
      source <(regctl completion bash)
      source <(regctl completion zsh)
      regctl completion fish > ~/.config/fish/completions/regctl.fish
    """
    from click.shell_completion import get_completion_class

    from registry_tool.cli.app import completion_variable, root

    kind = get_completion_class(shell)
    if kind is None:
        raise LookupError(f"click knows no completion for {shell}")
    name = program_name.name()
    # Without trailing blanks, as people may keep the script in a repository.
    script = kind(root, {}, name, completion_variable(name)).source().rstrip().splitlines()
    if shell == "bash":
        # Otherwise a name is three words to bash where it has a tag.
        script.append("COMP_WORDBREAKS=${COMP_WORDBREAKS//:}")
    session.output.lines(script)
