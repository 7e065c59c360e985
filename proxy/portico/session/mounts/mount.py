"""What a plugin says to mount a store.

Rule of this file: values only, offered to authors by `portico.plugin`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from portico.errors import Secret
from portico.session.context import SessionView

Listed = Literal["all", "root", "subscribed", "no"]
Subscribed = Literal["store", "all", "none"]

ALL_RIGHTS: Final = "lrswipkxtea"
"""RFC 4314 2.1, without the obsolete c and d."""


@dataclass(frozen=True, slots=True)
class Mount:
    """An account on a server, seen as a part of the user's tree (IMAP only).

    The connection to it is made when it is first needed, as `user` with `password`, or as `user` by a master user (SASL PLAIN with an
    authorization identity). Where neither a password nor a master user is given, the client's own password is used.
    """

    prefix: str
    """Where it stands in the user's tree: ``Public Folders``, or below something: ``Shared/Public``, levels parted by ``/`` whatever the
    server writes between them. A mailbox of the user's own with that name, and what is under it, cannot be seen any more."""
    server: str
    """The server's name in the settings."""
    root: str = ""
    """Only what is under this mailbox of the store, levels parted by ``/``; empty: the whole account."""
    user: str = ""
    """The name to sign in with; empty: the client's."""
    password: Secret | None = field(default=None, repr=False)
    master_user: str = ""
    master_password: Secret | None = field(default=None, repr=False)
    listed: Listed = "all"
    """What LIST shows to a client that asks for everything. ``root``: only the mount itself, until it asks for what is below;
    ``subscribed``: what the user is subscribed to; ``no``: nothing, though all can be selected."""
    subscribed: Subscribed = "store"
    """Where subscriptions are kept. ``store``: there, as for any mailbox. ``all`` and ``none``: by the proxy, for each user, who begins
    with everything or nothing."""
    inbox: bool = False
    """Show the store's INBOX as a mailbox under the mount."""
    rights: Callable[[str], str] | None = None
    """What the user may do with a mailbox (its name under `root`, levels parted by ``/``; empty: the mount itself), in the letters of
    RFC 4314 2.1; nothing: it is not seen. None: whatever the store allows. The store has the last word in any case. A plain function,
    called often."""
    serves: Callable[[SessionView], bool] | None = None
    """Whether the mount is there for this client at all; asked once, when it first names a mailbox or asks for a list: by then
    most have said their ID (RFC 2971). None: it is. A plain function."""
