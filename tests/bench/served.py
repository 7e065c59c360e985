"""A private Dovecot with the demo's people, for a measurement that is one program. Rule of this file: all of it is gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portico.demo import certificates, mailbox
from portico.demo.certificates import Certificates
from portico.demo.dovecot import Dovecot
from portico.demo.workplace import workplace


@contextmanager
def served() -> Iterator[tuple[Path, Certificates, Dovecot]]:
    """A directory, what servers show and clients trust, and the running server, whose mailboxes are empty."""
    with workplace() as place:
        (place / "certificates").mkdir()
        issued = certificates.issue(place / "certificates")
        server = Dovecot(
            place / "dovecot",
            users=mailbox.USERS,
            masters=mailbox.MASTERS,
            owner=mailbox.OWNER,
            certificate=issued.certificate,
            key=issued.key,
            mechanisms="plain login",
        )
        with server:
            yield place, issued, server
