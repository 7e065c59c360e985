"""`[log]`: where the log goes and how it looks.

Rule of this file: declarations only.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from portico.config.sections.base import Settings
from portico.config.units import Duration, WrittenFile


class Log(Settings):
    """Where the log goes and how it looks."""

    format: Literal["auto", "json", "console", "journal"] = Field(
        "auto",
        description="auto: for people on a terminal, JSON lines elsewhere. journal: JSON lines to standard error, each with its priority "
        "in front, as systemd takes it.",
    )
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level written.")
    file: WrittenFile | None = Field(None, description="A file to append to; default: standard error.")
    names: Literal["portico", "ecs"] = Field(
        "portico", description="Names of the fields in JSON: those of the reference, or those of the Elastic Common Schema."
    )
    slow_command: Duration | None = Field(
        None,
        gt=0,
        description="A command that takes longer is logged (command.slow); only sessions that are watched have their commands timed. "
        "Default: nothing is timed for it.",
    )
