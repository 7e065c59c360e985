"""``portico demo``.

Rule of this file: options in, the demo's exit code out.
"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--ports",
    envvar="PORTS",
    show_envvar=True,
    metavar="N",
    help="Added to the well-known ports: 20000 gives 20993 for IMAP with TLS.  [default: 10000]",
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True, writable=True),
    help="Where the demo makes its own directory, which it takes away at the end.  [default: the system's temporary directory]",
)
@click.pass_context
def demo(ctx: click.Context, ports: str | None, directory: Path | None) -> None:
    """A private Dovecot with Portico in front of it, to try things out.

    Makes certificates, users and a small mailbox, starts both servers on loopback ports, prints what to try, and ends
    everything on Ctrl-C.
    """
    from portico.demo.main import run as run_demo

    ctx.exit(run_demo(ports, directory=directory))
