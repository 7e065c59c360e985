"""Certificates for a test: an authority of its own and one certificate for the loopback addresses.

Rule of this file: made in the directory given, valid for a day; nobody else trusts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from portico.tls.issue import issue_into

NAMES: Final = ("localhost", "127.0.0.1", "::1")


class Certificates(Protocol):
    """PEM files: what to trust, and what a server shows."""

    @property
    def authority(self) -> Path: ...

    @property
    def certificate(self) -> Path: ...

    @property
    def key(self) -> Path: ...


@dataclass(slots=True, frozen=True)
class _Issued:
    authority: Path
    certificate: Path
    key: Path


def issue(directory: Path) -> Certificates:
    """Make an authority and a server certificate signed by it in `directory`."""
    made = issue_into(directory, NAMES, days=1)
    assert made.certificate is not None
    assert made.key is not None
    return _Issued(made.authority, made.certificate, made.key)
