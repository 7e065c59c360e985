"""[workers]: the processes that serve, and how they end.

Rule of this file: declarations only.
"""

from __future__ import annotations

from pydantic import Field

from portico.config.sections.base import Settings
from portico.config.units import MINUTES, SECONDS, Duration


class Workers(Settings):
    """The processes that serve, and how they end."""

    count: int | None = Field(None, ge=1, le=512, description="How many processes serve. Default: one per core that Portico may use.")
    user: str | None = Field(
        None,
        min_length=1,
        description="Started as root: the user (name or number) that all processes run as once every address is bound. "
        "The files that the settings name must be readable for it. A reload changes it for nobody.",
    )
    group: str | None = Field(None, min_length=1, description="Likewise the group; default: that of the user.")
    drain: Duration = Field(
        10 * SECONDS,
        gt=0,
        description="At the end (SIGTERM) nothing new is accepted, who has not signed in gets BYE, and the sessions are given so long to "
        "finish what is under way; then they are ended.",
    )
    drain_spread: Duration = Field(
        0 * SECONDS,
        description="Idle sessions are not told all at once then but one after the other during this time, so that they do not come back "
        "all at once. Not more than drain.",
    )
    upgrade_drain: Duration = Field(
        5 * MINUTES,
        gt=0,
        description="After an upgrade (SIGUSR2) the old processes serve what they have for so long at most; its idle sessions are told "
        "one after the other during this time.",
    )
    hung: Duration = Field(
        60 * SECONDS,
        ge=2,
        description="A worker that has done nothing at all for so long (a plugin that waits in it) is killed and replaced; "
        "2 seconds at least.",
    )
