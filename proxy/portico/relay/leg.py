"""What a Driver keeps for each leg of its session.

Rule of this file: values only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from portico.relay.channel import Channel
from portico.relay.ports import Dialling
from portico.session.context import Target
from portico.upstream.dial import Dial

START: Final = 1
"""Reasons not to read a leg, as bits of `Channel.holds`. START: the session has not begun."""
SESSION: Final = 2
"""The session said so: HoldClient, HoldServer."""
WAIT: Final = 4
"""Wait is running."""
FLOW: Final = 8
"""What it sent has not been taken on the other side."""


@dataclass(slots=True, eq=False)
class Leg:
    """One connection of a session, with its clock. Times are of the reactor's clock."""

    number: int
    channel: Channel | None = None
    """None: not connected (yet, or any more)."""
    target: Target | None = None
    dialling: Dialling | None = None
    dial: Dial | None = None
    reached: bool = False
    """The session has been told how the dial ended."""
    shake_by: float = math.inf
    """When a TLS handshake must be done."""
    phase: str = ""
    since: float = 0.0
    span: float = math.inf
    """Seconds of the phase."""

    def __repr__(self) -> str:
        return f"<{self.number} {self.phase or '-'} {self.channel or self.dial or 'none'}>"
