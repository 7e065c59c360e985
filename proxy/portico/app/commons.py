"""Which commons the settings ask for.

Rule of this file: those of this machine, or those of all in Redis, whose library is loaded only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.config.settings import Portico
from portico.console.control import Control
from portico.gate.commons import Commons, LocalCommons
from portico.observe.log import Log

if TYPE_CHECKING:
    from portico.gate.machines import Machines


def commons_of(settings: Portico, log: Log) -> LocalCommons:
    """Made once, for the life of the supervisor or of a single process. Raises SettingsError."""
    if settings.shared.redis is None:
        return LocalCommons()
    from portico.gate.shared import SharedCommons

    return SharedCommons(
        settings.shared,
        lambda text: log.event("commons.unavailable", {"text": text}),
        lambda: log.event("commons.available", {}),
    )


def machines_of(settings: Portico, commons: LocalCommons, control: Control, log: Log) -> Machines | None:
    """Those that share a Redis with this one, which asks them what an operator asks, and answers what theirs do by `control`."""
    if settings.shared.redis is None:
        return None
    from portico.gate.machines import Machines
    from portico.gate.shared import SharedCommons

    assert isinstance(commons, SharedCommons)
    machines = Machines(
        settings.shared,
        commons.machine,
        control.ask,
        lambda fields: log.event("console.command", {"role": "act" if fields["verb"] == "kick" else "look", **fields}),
    )
    commons.begin()
    machines.start()
    return machines


async def give_back(commons: Commons) -> None:
    """The end: other machines need not wait until what this one has runs out."""
    close = getattr(commons, "close", None)
    if close is not None:
        await close()
