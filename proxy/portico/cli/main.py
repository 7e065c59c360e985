"""The command `portico`.

Rule of this file: the group, its options, and what its failures turn into. Each command is a file of its own, imported when it
is called for, so that ``--help``, ``--version`` and completion load nothing of the proxy.
"""

from __future__ import annotations

import errno
import importlib
import platform
import ssl
from collections.abc import Mapping
from typing import Any, Final

import click

from portico import __version__
from portico.cli.exits import Exit
from portico.cli.output import complain, fill_standard_streams
from portico.config.near import near
from portico.errors import PorticoError, SettingsError

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "run": ("portico.cli.run:run", "Start the proxy."),
    "ctl": ("portico.cli.ctl:ctl", "Give the running Portico a command: who, kick, servers, reload, top, …"),
    "check": ("portico.cli.check:check", "Check a settings file; say everything that is wrong."),
    "demo": ("portico.cli.demo:demo", "A private Dovecot with Portico in front of it, to try things out."),
    "certs": ("portico.cli.certs:certs", "Make and show certificates."),
    "plugins": ("portico.cli.plugins:plugins", "List the plugins that are installed: versions, hooks, interests, options."),
    "logs": ("portico.cli.logs:logs", "Answer questions from log files: logins, failures, traffic, plugins."),
    "completion": ("portico.cli.completion:completion", "Print the completion script of a shell."),
}
"""Name: where it is, and the line for ``--help`` (a test holds it to the command's own)."""


class Commands(click.Group):
    """Loads a command when it is needed, and turns failures into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            hint = near(args[0], COMMANDS) if args and "did you mean" not in error.message.lower() else ""
            if not hint:
                raise
            raise click.UsageError(error.message.rstrip(".") + hint, ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            for problem in error.problems:
                complain(problem)
            if len(error.problems) > 1:
                complain(f"{len(error.problems)} mistakes")
            ctx.exit(Exit.SETTINGS)
        except PorticoError as error:
            complain(f"portico: {error}")
            ctx.exit(Exit.FAILED)
        except KeyboardInterrupt:
            ctx.exit(Exit.INTERRUPTED)
        except BrokenPipeError:
            raise  # click ends quietly
        except OSError as error:
            complain(f"portico: {error.filename + ': ' if isinstance(error.filename, str) else ''}{error.strerror or error}")
            taken = error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
            ctx.exit(Exit.ADDRESS if taken else Exit.FAILED)


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"portico {__version__} (Python {platform.python_version()}, {ssl.OPENSSL_VERSION})")
        ctx.exit(Exit.OK)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 mistakes in the settings, 4 address in use or not permitted, "
    "5 certificate expired or about to.",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version and exit.")
def portico() -> None:
    """A TLS-terminating POP3 and IMAP4 proxy with plugins.

    Begin with "portico demo", or with "portico check" and "portico run" on a settings file of your own.
    """


def main() -> None:
    """The console script; ends the process."""
    fill_standard_streams()
    portico.main(prog_name="portico")
