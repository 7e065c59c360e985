"""[console]: the operator's console over SSH, and the socket of `portico ctl`.

Rule of this file: declarations only; what must fit together is in config/check_console.py.
"""

from __future__ import annotations

from pydantic import Field

from portico.config.sections.base import Settings
from portico.config.units import MINUTES, SECONDS, Address, Duration, ReadFile, WrittenFile


class Console(Settings):
    """What operators use: `ssh -p 8022 admin@host` and `portico ctl`. Off unless `address` or `socket` is set."""

    address: Address | None = Field(
        None, description='Where SSH is answered: "localhost:8022" or "[::1]:8022". Default: nowhere. Needs authorized_keys and host_key.'
    )
    public: bool = Field(False, description="The address may be one that other machines can reach.")
    authorized_keys: ReadFile | None = Field(
        None,
        description="File of the public keys that may come in, one a line as in ~/.ssh/authorized_keys, without options; the comment "
        "behind a key is the operator's name. It is read at each sign-in, and not used while others may write it. There are no passwords.",
    )
    act: list[str] = Field(
        default=[],
        description="Names of the operators who may act (kick, hold, reload, trace, …); all others may only look.",
    )
    host_key: WrittenFile | None = Field(None, description="File of the console's own SSH key; it is made at the first start.")
    socket: WrittenFile | None = Field(
        None, description="Unix socket for `portico ctl`: only the user that Portico runs as, and root, can use it, and may act."
    )
    connections: int = Field(
        16, ge=1, le=1000, description="Operators' connections at a time; one that has not signed in yet gives way to a new one."
    )
    idle: Duration = Field(30 * MINUTES, gt=0, description="Nothing has been typed at the prompt for so long: the connection is closed.")
    sign_in: Duration = Field(30 * SECONDS, gt=0, description="From connect until an operator has signed in.")
    tries: int = Field(6, ge=1, description="Keys that one connection may try.")
