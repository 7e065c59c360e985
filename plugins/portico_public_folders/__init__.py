"""Public folders: an account on another server, or on the same one, in the folder list of everybody.

Rule of this file: options and hooks; who may do what is in access.py. What Exchange 2003 did under "Include all public folders when a
folder list is requested", in front of any server. POP3 knows one mailbox, and nothing changes there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from portico.plugin import Interests, Mount, Option, SecretText, Session, hookimpl
from pydantic import AfterValidator

from portico_public_folders.access import Permission, named, rights_of

__all__ = ["PublicFolders"]


def _path(name: str) -> str:
    """A mailbox as these settings write it. Raises ValueError for what no server could hold."""
    if not all(name.split("/")):
        raise ValueError('a folder is expected, with "/" between levels and at neither end')
    if any(character in "*%" or not character.isprintable() for character in name):
        raise ValueError("* and %, which are wildcards in IMAP, and control characters cannot be used")
    if name.upper() == "INBOX":
        raise ValueError("INBOX is everybody's own")
    return name


Folder = Annotated[str, AfterValidator(_path)]
Root = Annotated[str, AfterValidator(lambda name: _path(name) if name else name)]

_LISTED: Final = {"all": "all", "on demand": "root", "subscribed": "subscribed", "hidden": "no"}
_SUBSCRIBED: Final = {"virtual": "all", "store": "store", "proxy": "none"}
_NEEDED: Final = {"user": (), "master": ("master_user", "master_password"), "account": ("account", "account_password", "access")}
"""By `sign_in`: the options that it stands on, and that mean nothing without it."""
_WITH_A_PASSWORD: Final = ("LOGIN", "PLAIN", "XOAUTH2", "OAUTHBEARER")
"""Mechanisms after which there is something to sign in with at the store, a password or a token."""


class PublicFolders:
    """The plugin ``public_folders``."""

    portico_interests = ("mounts",)

    @hookimpl
    def settings_declared(self) -> Sequence[Option]:
        return [
            Option("store", str, "The server that holds the public folders, by its name in the settings."),
            Option("prefix", Folder, 'Where they stand in the folder list; levels parted by "/".', "Public Folders"),
            Option("root", Root, "The folder of the store under which they are; empty: all that the account there has.", ""),
            Option(
                "sign_in",
                Literal["user", "master", "account"],
                "As whom the store is asked. user: as the user, with the password that he signed in with. master: as the user, by a master "
                "user of the store. account: as one account, whose folders are everybody's, as `access` says.",
                "user",
            ),
            Option("master_user", str, "A user of the store who may act for others (SASL PLAIN with an authorization identity).", ""),
            Option("master_password", SecretText, "Its password: text, or {file = …} or {env = …}.", None),
            Option("account", str, "The account of the store that has the folders.", ""),
            Option("account_password", SecretText, "Its password, likewise.", None),
            Option(
                "access",
                list[Permission],
                'Who may do what, where sign_in is account: rows {users = ["*"], folders = ["*"], rights = "read"}; the first that fits '
                "user and folder decides, and where none does the folder is not there. A row for a folder is one for what is under it. "
                "rights: none, read, post (also store messages), delete (also change flags and delete messages), manage (also make, "
                "rename and delete folders).",
                [],
            ),
            Option(
                "show",
                Literal["all", "on demand", "subscribed", "hidden"],
                "What a client gets that asks for all folders. on demand: only the prefix, until it asks for what is below; subscribed: "
                "what the user is subscribed to; hidden: nothing, though every folder can be opened by its name.",
                "all",
            ),
            Option(
                "subscribed",
                Literal["virtual", "store", "proxy"],
                "Which of them a user is subscribed to. virtual: all, but those that he unsubscribed from; store: those that the store "
                "remembers; proxy: those that he subscribed to here. virtual and proxy are remembered here, for each user.",
                "virtual",
            ),
            Option("inbox", bool, "Show the INBOX of the account at the store too, below the prefix.", False),
            Option("exclude_users", list[str], "Patterns of users who see no public folders.", []),
            Option("exclude_clients", list[str], "Patterns of mail programs (the name in their IMAP ID) that see none.", []),
        ]

    @hookimpl
    def settings_checked(self, protocol: str, servers: Sequence[str], options: Any) -> str | None:
        """What would show nothing, or show it as somebody else. On a POP3 listener the plugin does nothing, whatever its options are."""
        if protocol != "imap":
            return None
        if options.store not in servers:
            return f"store is {options.store}, and there is no such server with IMAP; there are: {', '.join(servers) or 'none'}"
        for way, names in _NEEDED.items():
            missing = [name for name in names if not getattr(options, name)]
            if way == options.sign_in and missing:
                return f"sign_in is {way}, and {_listed(missing)} not set"
            if way != options.sign_in and len(missing) < len(names):
                return f"sign_in is {options.sign_in}, and so {_listed([name for name in names if name not in missing])} not used"
        if options.sign_in == "account" and options.subscribed == "store":
            return "subscribed is store, and of one account all users would have the same subscriptions; use virtual or proxy"
        return None

    @hookimpl
    def session_opened(self, session: Session, options: Any) -> Interests | None:
        if session.protocol != "imap":
            return None
        if named(session.user, options.exclude_users) or named(session.client_id.get("name", ""), options.exclude_clients):
            return None
        if options.sign_in == "user" and session.mechanism not in _WITH_A_PASSWORD:
            return None
        mount: dict[str, Any] = {
            "prefix": options.prefix,
            "server": options.store,
            "root": options.root,
            "listed": _LISTED[options.show],
            "subscribed": _SUBSCRIBED[options.subscribed],
            "inbox": options.inbox,
        }
        if options.exclude_clients:
            mount["serves"] = lambda session: not named(session.client_id.get("name", ""), options.exclude_clients)
        if options.sign_in == "master":
            mount |= {"master_user": options.master_user, "master_password": options.master_password}
        elif options.sign_in == "account":
            rights = rights_of(session.user, options.access)
            if rights is None:
                return None
            mount |= {"user": options.account, "password": options.account_password, "rights": rights}
        return Interests(mounts=[Mount(**mount)])


def _listed(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'}"
