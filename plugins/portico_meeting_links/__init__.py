"""Meeting links: a meeting request carries a link to the page on which it is answered.

Rule of this file: options and hooks; what is a request is in request.py and meeting.py, the address in links.py, the words in words.py.
What Exchange 2003 did under "Calendaring" for POP3 and IMAP4, for any server; the calendar part stays as it is.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal
from urllib.parse import quote

from portico.plugin import Insertion, Interests, Option, Outline, Session, hookimpl
from pydantic import AfterValidator

from portico_meeting_links import links, meeting, request, words
from portico_meeting_links.folder import readable, written
from portico_meeting_links.present import answered

__all__ = ["MeetingLinks"]


def _language(name: str) -> str:
    if name not in words.languages():
        raise ValueError(f"there are no words for it; possible: {', '.join(words.languages())}")
    return name


def _languages(names: dict[str, str]) -> dict[str, str]:
    return {pattern: _language(name) for pattern, name in names.items()}


def _hosts(hosts: dict[str, str]) -> dict[str, str]:
    return {server: links.check_host(host) for server, host in hosts.items()}


Host = Annotated[str, AfterValidator(links.check_host)]
Hosts = Annotated[dict[str, str], AfterValidator(_hosts)]
Path = Annotated[str, AfterValidator(links.check_path)]
Template = Annotated[str, AfterValidator(lambda text: links.check_template(text) if text else text)]
Language = Annotated[str, AfterValidator(_language)]
Languages = Annotated[dict[str, str], AfterValidator(_languages)]


_MOST_OF_A_TEXT = 256 * 1024
"""Octets of a text that is read; a longer one is not looked into."""


class MeetingLinks:
    """The plugin ``meeting_links``."""

    portico_interests = ("annotations",)

    @hookimpl
    def settings_declared(self) -> Sequence[Option]:
        return [
            Option(
                "webmail",
                Literal["exchange-2003", "roundcube", "sogo", "horde", "zimbra", "nextcloud", "custom"],
                "Which pages the links lead to; custom: as `template` says.",
            ),
            Option(
                "target",
                Literal["recipient", "front-end"],
                "Whose host is in the link: that of the server which holds the mailbox (by `hosts`), or of the front-end server (`host`).",
                "front-end",
            ),
            Option("host", Host, "The front-end server's host, with a port where one is needed.", ""),
            Option("hosts", Hosts, "By server name of the settings: its web host.", {}),
            Option("path", Path, 'What stands before the webmail\'s own path, as "/roundcube".', ""),
            Option("ssl", bool, "Links begin with https (SSL connections), else with http.", True),
            Option(
                "template",
                Template,
                f"A whole address, for custom. Variables, percent-encoded: {', '.join(f'{{{name}}}' for name in links.VARIABLES)}.",
                "",
            ),
            Option("language", Language, f"Of the block: {', '.join(words.languages())}.", "en"),
            Option("languages", Languages, 'Others, by pattern of the user: {"*@example.de" = "de"}.', {}),
            Option(
                "event_language",
                bool,
                "Whom `languages` does not name has the block in the language of the event, where its SUMMARY says it (LANGUAGE).",
                False,
            ),
            Option(
                "read_texts",
                bool,
                "Over IMAP too, read the texts of a request before it gets a link: one that has a link already, or PGP in it, gets none.",
                False,
            ),
            Option("exclude_users", list[str], "Patterns of users whose mail stays as it is.", []),
            Option("exclude_clients", list[str], "Patterns of mail programs (the name in their IMAP ID) that get no links.", []),
        ]

    @hookimpl
    def settings_checked(self, protocol: str, servers: Sequence[str], options: Any) -> str | None:
        """What would give no link, or a dead one."""
        if options.webmail == "custom":
            if not options.template:
                return "webmail is custom, and no template says what the links are"
            path = options.template
        else:
            if options.target == "front-end" and not options.host:
                return "no host says where the links lead"
            if options.target == "recipient" and not options.hosts:
                return "target is recipient, and hosts does not say which web host belongs to which server"
            if options.target == "recipient" and servers and options.hosts.keys().isdisjoint(servers):
                return f"hosts says nothing of {' and '.join(servers)}, so there would be no links"
            path = links.PRESETS[options.webmail]
        unknown = sorted(links.IMAP_ONLY & set(links.names_in(path)))
        if protocol == "pop3" and unknown:
            named = " and ".join(f"{{{name}}}" for name in unknown)
            return f"over POP3 nothing tells {named}, so the links would be dead; {{message_id}} and {{subject}} can be used"
        return None

    @hookimpl
    def session_opened(self, session: Session, options: Any) -> Interests | None:
        if _named(session.user, options.exclude_users) or _named(session.client_id.get("name", ""), options.exclude_clients):
            return None
        template = _template(session, options)
        if template is None:
            return None
        known = next((name for pattern, name in options.languages.items() if _named(session.user, [pattern])), "")
        return Interests(
            annotator=Linker(
                template,
                known or options.language,
                event_language=options.event_language and not known,
                reads_texts=options.read_texts or session.protocol == "pop3",  # there the message is at hand when it is looked at
                only_inbox=options.webmail in links.ONLY_INBOX,
                exclude_clients=options.exclude_clients,
            )
        )


def _named(name: str, patterns: Sequence[str]) -> bool:
    return bool(name) and any(fnmatchcase(name.casefold(), pattern.casefold()) for pattern in patterns)


def _template(session: Session, options: Any) -> str | None:
    """The address with its variables; None: there is none for this session."""
    if options.webmail == "custom":
        template: str = options.template
    else:
        host = options.hosts.get(session.server, "") if options.target == "recipient" else options.host
        if not host:
            return None
        template = f"{'https' if options.ssl else 'http'}://{host}{options.path.rstrip('/')}{links.PRESETS[options.webmail]}"
    if not template or (session.protocol == "pop3" and links.IMAP_ONLY & set(links.names_in(template))):
        return None  # on POP3 nothing tells where the message is: no link is better than a dead one
    return template


class Linker:
    """The annotator of one session."""

    types: Sequence[str] = ("text/calendar",)

    def __init__(
        self,
        template: str,
        language: str,
        *,
        event_language: bool,
        reads_texts: bool,
        only_inbox: bool,
        exclude_clients: Sequence[str],
    ) -> None:
        self._template = template
        self._language = language
        self._event_language = event_language
        self._reads_texts = reads_texts
        self._only_inbox = only_inbox
        self._exclude_clients = exclude_clients

    def serves(self, session: Session) -> bool:
        """Most programs say their ID when they have signed in."""
        return not _named(session.client_id.get("name", ""), self._exclude_clients)

    def wants(self, session: Session, outline: Outline) -> Sequence[str] | None:
        found = request.may_be(outline.structure)
        if found is None or (self._only_inbox and outline.mailbox.upper() != "INBOX"):
            return None
        if links.fill(self._template, _values(session, outline)) is None:
            return None
        texts = [part.number for part in found.texts if 0 <= part.octets <= _MOST_OF_A_TEXT] if self._reads_texts else []
        return (found.calendar, *texts)

    def insertions(self, session: Session, outline: Outline, parts: Mapping[str, bytes]) -> Sequence[Insertion]:
        found = request.may_be(outline.structure)
        asked = meeting.read(parts[found.calendar], found.charset) if found is not None else None
        link = links.fill(self._template, _values(session, outline))
        if found is None or asked is None or link is None:
            return []
        beginning = links.beginning(self._template)
        if any(answered(parts.get(part.number, b""), link, beginning) for part in found.texts):
            return []
        its_own = self._event_language and asked.language in words.languages()
        language = asked.language if its_own else self._language
        blocks = {"text/plain": words.as_text(asked, link, language), "text/html": words.as_html(asked, link, language)}
        return [Insertion(part.number, blocks[part.type]) for part in found.texts]


def _values(session: Session, outline: Outline) -> dict[str, str]:
    alias, _, domain = session.user.rpartition("@")
    folder = readable(outline.mailbox)
    mailbox = outline.mailbox if outline.mailbox.isascii() else written(folder)
    return {
        "user": session.user,
        "alias": alias or session.user,
        "domain": domain if alias else "",
        "mailbox": mailbox,
        "mailbox_twice": quote(mailbox, safe="", errors="replace"),
        "mailbox64": urlsafe_b64encode(folder.encode(errors="replace")).decode().rstrip("="),
        "folder": folder,
        "server": session.server,
        "uid": str(outline.uid) if outline.uid else "",
        "message_id": outline.message_id.strip("<>"),
        "subject": outline.subject,
        "item": links.item(outline.subject),
    }
