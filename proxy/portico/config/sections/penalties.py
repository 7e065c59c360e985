"""[penalties]: what an address pays for wrong passwords, and networks as the settings write them.

Rule of this file: declarations only.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field

from portico.config.sections.base import Settings
from portico.config.units import MINUTES, SECONDS, Duration, Kind


def _network(value: str) -> str:
    if value == "unix":
        return value
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        hint = "; its address has bits behind the prefix" if "host bits" in str(error) else ""
        raise ValueError(
            f'a network is expected, as "10.0.0.0/8", "2001:db8::/32", "192.0.2.7", or "unix" for any of these{hint}'
        ) from None


Network = Annotated[str, AfterValidator(_network), Kind("network")]
"""An IP network or address, or ``unix``."""


class Penalties(Settings):
    """What an address pays for wrong passwords: it waits before its next login is looked at. Nobody is locked out."""

    delay: Duration = Field(2 * SECONDS, description='After one wrong password; doubled with each further one. "0s": none.')
    delay_max: Duration = Field(15 * SECONDS, description="The longest such delay.")
    forget: Duration = Field(15 * MINUTES, gt=0, description="One wrong password is forgotten in this time.")
    waiting: int = Field(
        20, ge=1, description="Logins of one address that may wait so at a time, in each process; further ones are refused (UNAVAILABLE)."
    )
    exempt: list[Network] = Field(
        default=[],
        description='Networks that pay no penalties: a webmail, a monitor. "unix": unix sockets. It does not make them speak for others.',
    )
