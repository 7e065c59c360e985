"""[tls], and the tables in which certificates stand: what the proxy shows, and for how long sessions may be resumed.

Rule of this file: declarations only.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from portico.config.sections.base import Settings
from portico.config.units import HOURS, SECONDS, Duration, ReadFile, SecretText
from portico.errors import Secret


def _long_enough(secret: Secret) -> Secret:
    if len(secret.reveal()) < 32:
        raise ValueError('is too short: 32 octets or more are needed, as "openssl rand -hex 32" makes them')
    return secret


class Certificate(Settings):
    """One certificate of a listener: which is shown is decided by the name that the client asks for."""

    certificate: ReadFile = Field(description="PEM file with the certificate and its chain.")
    key: ReadFile | None = Field(None, description="PEM file with its key; default: the key is in the certificate file.")
    names: list[str] = Field(
        default=[], description='Names that it is shown for: "mail.example.org", "*.example.org". Default: those in the certificate.'
    )


class Tls(Settings):
    """TLS, for all listeners."""

    check: Duration = Field(
        10 * SECONDS,
        description="How often the listeners' files are looked at; changed ones are taken up at once, and broken ones leave the old in "
        'place, which the log says. "0s": only at a reload.',
    )
    expiry_warning: Duration = Field(
        14 * 24 * HOURS, description="A certificate that ends sooner is said in the log at start and once a day; one that has ended always."
    )
    ticket_rotation: Duration = Field(
        12 * HOURS,
        ge=60,
        description="How long the keys of session tickets hold. With new ones a client that comes back shakes hands in full once.",
    )
    ticket_secret: Annotated[SecretText, AfterValidator(_long_enough)] | None = Field(
        None,
        description="What the keys of session tickets are made from, 32 octets or more: the same on several machines, so that clients "
        "resume their sessions on each. Default: made at start, for all worker processes of this machine.",
    )
