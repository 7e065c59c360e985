"""Which commons the settings ask for.

Rule of this file: those of this machine, or those of all in Redis, whose library is loaded only then.
"""

from __future__ import annotations

from portico.config.settings import Portico
from portico.gate.commons import Commons, LocalCommons
from portico.observe.log import Log


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


async def give_back(commons: Commons) -> None:
    """The end: other machines need not wait until what this one has runs out."""
    close = getattr(commons, "close", None)
    if close is not None:
        await close()
