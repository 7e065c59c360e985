"""[shared]: what several machines that run Portico know together.

Rule of this file: declarations only.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from portico.config.sections.base import Settings
from portico.config.units import SECONDS, Duration, ReadFile, SecretText
from portico.errors import Secret

_SCHEMES = (b"redis://", b"rediss://", b"unix://")


def _url(value: Secret) -> Secret:
    if not value.reveal().startswith(_SCHEMES):
        raise ValueError('a Redis URL is expected, as "redis://:password@host:6379/0", "rediss://…" (TLS) or "unix:///path"')
    return value


class Shared(Settings):
    """What several machines that run Portico know together, in Redis or Valkey. A restart is needed to change it."""

    redis: Annotated[SecretText, AfterValidator(_url)] | None = Field(
        None,
        description='URL of the Redis or Valkey: "redis://:password@host:6379/0", "rediss://…" for TLS, "unix:///path"; text, or '
        "{file = …} or {env = …}. Limits per user and address, penalties and holds are then those of all machines. Default: each machine "
        "knows its own.",
    )
    annotations: bool = Field(
        False,
        description="What was told of annotated messages and of sizes, and subscriptions kept here, are remembered there too, in place of "
        "annotations.file. Sessions wait for each question, 0.25 s at most.",
    )
    ca_file: ReadFile | None = Field(None, description="With rediss: PEM file of the authorities to trust; default: the system's.")
    prefix: str = Field("portico", pattern=r"^[\w.:{}-]{1,64}$", description="Its keys begin so. Machines with the same one share.")
    machine: str | None = Field(
        None, pattern=r"^[\w.-]{1,40}$", description="What this machine is called in `who --machines`. Default: its host name."
    )
    patience: Duration = Field(
        0.5 * SECONDS, gt=0, description="An answer that takes longer counts as none; then everybody is let in, and the log says so."
    )
    lease: Duration = Field(
        15 * SECONDS, ge=1 * SECONDS, description="What a machine holds that has said nothing for so long (it died) is given back."
    )
