"""Users of the test servers.

Rule of this file: a user whom a test changes is given out once.
"""

from __future__ import annotations

import imaplib
from collections.abc import Iterator, Sequence
from typing import Protocol

from portico.demo.mailbox import Folder, fill
from portico.demo.ports import LOOPBACK, MailPorts

PASSWORD = "wonderland"
MANY = {f"user{number}": PASSWORD for number in range(400)}
"""Dovecot's, for which a user is a line in a file."""
USERS = dict(list(MANY.items())[:100])
"""Of servers that have to make a mailbox for each."""


class Server(Protocol):
    ports: MailPorts


class People:
    """``people.new(server)`` is the name of a user whom nobody has used on that server."""

    def __init__(self) -> None:
        self._names: dict[MailPorts, Iterator[str]] = {}

    def new(self, server: Server) -> str:
        return next(self._names.setdefault(server.ports, iter(MANY)))


def load(server: Server, user: str, folders: Sequence[Folder]) -> None:
    """Store folders for a user, straight on the server."""
    with imaplib.IMAP4(LOOPBACK, server.ports.imap) as connection:
        connection.login(user, PASSWORD)
        fill(connection, folders, prefix=getattr(server, "prefix", ""), separator=getattr(server, "separator", "/"))
