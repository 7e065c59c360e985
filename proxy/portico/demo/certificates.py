"""The demo's certificates: an authority and one certificate for localhost.

Rule of this file: the only place of the demo that knows how certificates are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from portico.tls.issue import issue_into

NAMES = ("localhost", "127.0.0.1", "::1")
DAYS = 30


@dataclass(slots=True, frozen=True)
class Certificates:
    """PEM files: what to trust, and what a server shows."""

    authority: Path
    certificate: Path
    key: Path


def issue(directory: Path, names: tuple[str, ...] = NAMES) -> Certificates:
    """Make an authority and a server certificate signed by it in `directory`."""
    made = issue_into(directory, names, days=DAYS)
    assert made.certificate is not None
    assert made.key is not None
    return Certificates(made.authority, made.certificate, made.key)
