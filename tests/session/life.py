"""portico.testing's life of a session, under the name that our own letters have for it."""

from __future__ import annotations

from portico.testing.life import TARGET, TLS, Life, Pop3Life

__all__ = ["TARGET", "TLS", "Life", "Pop3Life"]
