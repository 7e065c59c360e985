"""What must fit together about who comes in: time-outs of a hold, and who may say for whom he speaks.

Rule of this file: as check.py and advice.py, for the settings that the gate goes by.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from portico.config.document import KeyPath, Problem
from portico.config.explain import show
from portico.config.sections.penalties import Penalties
from portico.config.settings import Listener
from portico.config.show import duration_text


def gate_mistakes(path: KeyPath, listener: Listener) -> Iterator[Problem]:
    """In a listener."""
    timeouts = listener.timeouts
    if timeouts.held >= timeouts.login:
        text = "is not less than login: who waits for a hold to end would be sent away without a word about it"
        yield Problem((*path, "timeouts", "held"), text, ((*path, "timeouts", "login"),))
    if listener.proxy_protocol and "unix" not in listener.proxy_protocol and all(at.startswith("unix:") for at in listener.addresses):
        text = 'nobody can come in: all addresses are unix sockets; add "unix"'
        yield Problem((*path, "proxy_protocol"), text, ((*path, "addresses"),))


def penalty_mistakes(path: KeyPath, penalties: Penalties) -> Iterator[Problem]:
    """What an address pays."""
    if penalties.delay > penalties.delay_max:
        text = f"is longer than delay_max ({duration_text(penalties.delay_max)}): nobody would wait so long"
        yield Problem((*path, "delay"), text, ((*path, "delay_max"),))


def gate_warnings(path: KeyPath, listener: Listener) -> Iterator[Problem]:
    """Likewise."""
    for key in ("proxy_protocol", "trusted_networks"):
        for position, text in enumerate(getattr(listener, key)):
            if text != "unix" and ipaddress.ip_network(text).prefixlen == 0:
                said = f"found {show(text)}: everybody may say that he is somebody else, and is logged and limited as that"
                yield Problem((*path, key, position), said)
