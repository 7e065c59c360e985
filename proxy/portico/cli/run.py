"""``portico run``.

Rule of this file: settings in, app's exit code out.
"""

from __future__ import annotations

import errno
from pathlib import Path

import click

from portico.cli.exits import Exit
from portico.cli.output import complain
from portico.cli.where import settings_file, settings_option


@click.command()
@settings_option
@click.pass_context
def run(ctx: click.Context, config: Path | None) -> None:
    """Start the proxy.

    Runs in the foreground until SIGINT or SIGTERM; logs to standard error unless the settings say otherwise. Nothing is
    started when the settings have a mistake.
    """
    from portico.app.main import run as run_proxy
    from portico.config.load import load
    from portico.plugin.loading import mistakes

    file = settings_file(config)
    settings = load(file, further=mistakes)
    try:
        code = run_proxy(settings, file)
    except PermissionError as error:
        # A port below 1024 without the right to it, or a unix socket in a directory of somebody else.
        complain(f"portico: {error}")
        code = Exit.ADDRESS if error.errno == errno.EACCES else Exit.FAILED
    ctx.exit(code)
