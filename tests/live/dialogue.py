"""portico.testing's client, under the name that the live tests have for it."""

from __future__ import annotations

from portico.testing.client import LITERAL, WAIT_SECONDS, Dialogue, eventually

__all__ = ["LITERAL", "WAIT_SECONDS", "Dialogue", "eventually"]
