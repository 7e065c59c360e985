"""``portico completion``.

Rule of this file: click writes the scripts; we print them.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  eval "$(portico completion bash)"     in ~/.bashrc
    zsh:   eval "$(portico completion zsh)"      in ~/.zshrc
    fish:  portico completion fish > ~/.config/fish/completions/portico.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    root = ctx.find_root()
    click.echo(kind(root.command, {}, "portico", "_PORTICO_COMPLETE").source())
