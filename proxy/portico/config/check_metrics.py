"""What must fit together in [metrics].

Rule of this file: as config/check.py, of which it is a part.
"""

from __future__ import annotations

from collections.abc import Iterator

from portico.config.address import parse_address
from portico.config.document import KeyPath, Problem
from portico.config.explain import show
from portico.config.sections.metrics import Metrics


def metrics_mistakes(path: KeyPath, metrics: Metrics) -> Iterator[Problem]:
    """Whether the address is one, and is meant to be seen from where it can be seen."""
    if metrics.address is None:
        return
    key = (*path, "address")
    try:
        address = parse_address(metrics.address, any_port=True)
    except ValueError as error:
        yield Problem(key, f"found {show(metrics.address)}; {error}")
        return
    if not address.local and not metrics.public:
        text = f"found {show(metrics.address)}; other machines can reach it, and it asks nobody who he is: public = true, if that is meant"
        yield Problem(key, text, ((*path, "public"),))
