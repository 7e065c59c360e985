"""Capability lists: what may be announced.

Rule of this file: an allow-list. An extension that is not known here is not announced, so no client
uses it; one that is known is carried by a relay that passes octets through. What a watch or a
mechanism (mounts, annotations) cannot keep is taken out by `without` of the caller.
Names: the IANA registry "IMAP Capabilities" and RFC 2449 for POP3.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

_REMEMBERED: Final = 4096
"""Octets of a list that is taken apart once for all: servers say the same each time. A longer one is taken apart anew."""
_IMAP: Final = frozenset(
    b"""ACL ANNOTATE-EXPERIMENT-1 APPENDLIMIT BINARY CATENATE CHILDREN CONDSTORE CONVERT CREATE-SPECIAL-USE ENABLE ESEARCH
    ESORT FILTERS ID IDLE IMAP4 IMAP4REV1 IMAP4REV2 IMAPSIEVE= INPROGRESS JMAPACCESS LANGUAGE LIST-EXTENDED LIST-METADATA
    LIST-MYRIGHTS LIST-STATUS LITERAL+ LITERAL- LOGIN-REFERRALS MESSAGELIMIT METADATA METADATA-SERVER MOVE MULTIAPPEND
    MULTISEARCH NAMESPACE NOTIFY OBJECTID OBJECTIDBIS PARTIAL PREVIEW QRESYNC QUOTA QUOTASET REPLACE SASL-IR SAVEDATE SAVELIMIT
    SEARCHRES SNIPPET=FUZZY SORT SPECIAL-USE STATUS=SIZE UIDBATCHES UIDONLY UIDPLUS UNSELECT URLAUTH URLAUTH=BINARY
    URL-PARTIAL UTF8=ACCEPT UTF8=ONLY WITHIN XLIST X-GM-EXT-1 XAPPLEPUSHSERVICE""".split()
)
_IMAP_PREFIXES: Final = (
    b"APPENDLIMIT=", b"CONTEXT=", b"FILTER=", b"I18NLEVEL=", b"IMAPSIEVE=", b"MESSAGELIMIT=", b"PREVIEW=", b"QUOTA=RES-", b"RIGHTS=",
    b"SAVELIMIT=", b"SEARCH=", b"SORT=", b"THREAD=",
)  # fmt: skip
# Named because they are refused on purpose, not because they are unknown:
#   COMPRESS=DEFLATE  the stream could not be read any more, and is not passed through blind
#   STARTTLS LOGINDISABLED AUTH=…  belong to a connection, and each leg has its own
#   MAILBOX-REFERRALS  would lead clients round the proxy
#   UNAUTHENTICATE  another user would follow in the same session

_IMAP_BEFORE_LOGIN: Final = (b"IMAP4REV2", b"ENABLE", b"IDLE", b"LITERAL+", b"LITERAL-")
"""Announced before login only where the server is known to have them: what a client sends on the strength of our word,
pipelined behind its login, the server must understand."""

# CAPA: Dovecot lists the command itself, and a list that is passed whole is a session that can be a tunnel.
_POP3: Final = frozenset(
    b"CAPA TOP USER SASL RESP-CODES LOGIN-DELAY PIPELINING EXPIRE UIDL IMPLEMENTATION AUTH-RESP-CODE UTF8 LANG".split()
)


def imap_allowed(name: bytes) -> bool:
    """Whether an IMAP capability may be announced after login."""
    upper = name.upper()
    return upper in _IMAP or upper.startswith(_IMAP_PREFIXES)


def filter_imap(names: Iterable[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The server's list after login, cut in two: what is announced (order and case kept) and what is withheld."""
    passed: list[bytes] = []
    withheld: list[bytes] = []
    for name in names:
        (passed if imap_allowed(name) else withheld).append(name)
    return passed, withheld


def imap_before_login(known: Iterable[bytes], *, starttls: bool, mechanisms: Iterable[str]) -> list[bytes]:
    """Our own list before login. `known`: the server's, where it is known beforehand. No mechanisms: LOGINDISABLED."""
    upper = {name.upper() for name in known}
    names = [b"IMAP4rev1"]
    names += [name.replace(b"REV", b"rev") for name in _IMAP_BEFORE_LOGIN if name in upper]
    names += [b"SASL-IR", b"ID"]
    if starttls:
        names.append(b"STARTTLS")
    offered = [b"AUTH=" + mechanism.encode("ascii") for mechanism in mechanisms]
    return names + (offered or [b"LOGINDISABLED"])


@lru_cache(maxsize=64)
def imap_line_before_login(known: tuple[bytes, ...], starttls: bool, mechanisms: tuple[str, ...], login: bool) -> bytes:
    """The same as one line, for each client of a listener. `login`: LOGIN may be used, though perhaps no mechanism."""
    names = imap_before_login(known, starttls=starttls, mechanisms=mechanisms)
    return b" ".join([name for name in names if not login or name != b"LOGINDISABLED"])


def filter_pop3(lines: Iterable[bytes]) -> tuple[list[bytes], list[bytes]]:
    """CAPA lines of the server after login: announced and withheld. A line is a name with arguments."""
    passed: list[bytes] = []
    withheld: list[bytes] = []
    for line in lines:
        name = line.split(b" ", 1)[0].upper()
        (passed if name in _POP3 else withheld).append(line)
    return passed, withheld


class Listed:
    """What a server has announced, and what follows from it. One object for all that announce the same: nobody changes it."""

    __slots__ = ("mechanisms", "names", "passed", "upper", "withheld", "words")

    def __init__(self, names: list[bytes], passed: list[bytes], withheld: list[bytes]) -> None:
        self.names = names
        """In the server's order and case; POP3: lines."""
        self.passed = passed
        """Those that are announced after login,"""
        self.withheld = withheld
        """and the others."""
        self.words = tuple(name.decode("ascii", "replace") for name in names)
        self.upper = frozenset(name.upper() for name in names)
        self.mechanisms = frozenset(name[5:].decode("ascii", "replace") for name in self.upper if name.startswith(b"AUTH="))
        """Of IMAP, before login."""

    def __repr__(self) -> str:
        return f"<Listed {' '.join(self.words)}>"


def imap_list(octets: bytes) -> Listed:
    """What stands behind CAPABILITY."""
    return _known_imap(octets) if len(octets) <= _REMEMBERED else _take_imap_apart(octets)


def pop3_list(lines: list[bytes]) -> Listed:
    """The lines of an answer to CAPA."""
    octets = b"\n".join(lines)  # which is in no line
    return _known_pop3(octets) if len(octets) <= _REMEMBERED else _take_pop3_apart(octets)


def _take_imap_apart(octets: bytes) -> Listed:
    names = octets.split()
    return Listed(names, *filter_imap(names))


def _take_pop3_apart(octets: bytes) -> Listed:
    lines = octets.split(b"\n") if octets else []
    return Listed(lines, *filter_pop3(lines))


_known_imap: Final = lru_cache(maxsize=64)(_take_imap_apart)
_known_pop3: Final = lru_cache(maxsize=64)(_take_pop3_apart)
