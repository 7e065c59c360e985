"""``python -m portico.testing``: a mail server that says yes to everything, for trying a plugin by hand.

Rule of this file: two ports on the loopback address, until Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack

import click

from portico.testing.server import ScriptedServer


@click.command()
@click.option("--imap", "imap_port", default=10143, show_default=True, metavar="PORT", help="Where IMAP answers; 0: a free port.")
@click.option("--pop3", "pop3_port", default=10110, show_default=True, metavar="PORT", help="Where POP3 answers; 0: a free port.")
def serve(imap_port: int, pop3_port: int) -> None:
    """A mail server on 127.0.0.1, without TLS, that lets anybody in by any password, has one message, and says yes to everything."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        try:
            servers = [
                stack.enter_context(ScriptedServer(protocol="imap", wanted_port=imap_port)),
                stack.enter_context(ScriptedServer(protocol="pop3", wanted_port=pop3_port)),
            ]
        except OSError as error:
            raise click.ClickException(f"cannot listen: {error.strerror}") from error
        for server in servers:
            click.echo(f"{server.protocol} {server.address}")
        try:
            while True:
                signal.pause()
        except KeyboardInterrupt:
            click.echo("bye")


if __name__ == "__main__":
    serve()
