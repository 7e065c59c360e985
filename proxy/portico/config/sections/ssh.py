"""The SSH host through which alone a server can be reached.

Rule of this file: declarations only, as in settings.py; what must fit together is in config/check_ssh.py.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from portico.config.sections.base import Settings
from portico.config.units import KIB, SECONDS, Duration, ReadFile, Size


def _host_fingerprint(value: str) -> str:
    plain = value.removeprefix("SHA256:").rstrip("=")
    if not re.fullmatch(r"[A-Za-z0-9+/]{43}", plain):
        raise ValueError('the fingerprint of an SSH host\'s key is expected, as "ssh-keygen -l" prints it: "SHA256:" and 43 characters')
    return f"SHA256:{plain}"


class Ssh(Settings):
    """The server is reached through an SSH host, which forwards to its addresses as it sees them. All sessions of a process share one
    connection to the host, and so do servers that have the same settings here. Neither ~/.ssh nor the environment is looked at."""

    host: str = Field(description="Name or address of the SSH host.")
    port: int = Field(22, ge=1, le=65535, description="Its port.")
    user: str = Field(min_length=1, description="The user to sign in as; it needs no shell, only the right to forward.")
    key: ReadFile | None = Field(
        None, description="File with the private key, without passphrase; a certificate beside it (-cert.pub) is used too."
    )
    agent: ReadFile | None = Field(None, description="Socket of an agent (ssh-agent) that holds the keys, in place of key.")
    known_hosts: ReadFile | None = Field(
        None, description="File with the host's key (known_hosts, as ssh-keyscan makes it). It, or fingerprint, is needed."
    )
    fingerprint: Annotated[str, AfterValidator(_host_fingerprint)] | None = Field(
        None, description='The only key of the host to accept, as "SHA256:…"; `ssh-keygen -l` prints it.'
    )
    keepalive: Duration = Field(
        15 * SECONDS, gt=0, description="A host that has said nothing for so long is asked; three questions without answer, and it is lost."
    )
    connect: Duration = Field(10 * SECONDS, gt=0, description="Connecting to the host and signing in there.")
    window: Size = Field(
        256 * KIB,
        ge=32 * KIB,
        description="What may be under way to one session, and wait in memory for it: divided by the round-trip time, the most that a "
        "session gets. More for hosts that are far away.",
    )
