"""What every sizer must keep, whatever it guesses.

Rule of this file: as portico.testing.annotators. A guess may be wrong; it may not be nothing, and it may keep nobody waiting, because all
sessions wait while one is made for each message of a list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import thread_time
from types import MappingProxyType
from typing import Any, Final

from portico.session.ask import raised
from portico.session.context import SessionView
from portico.session.interests import BoundSizer
from portico.session.sizes.sizer import Sketch
from portico.session.sizes.sizes import MOST_OCTETS, MOST_UID

MOST_SECONDS: Final = 0.001
"""Of work for one message, in the middle of many."""
_SIZES: Final = (1, 900, 4_000, 12_345, 300_000, 50_000_000, MOST_OCTETS)
_ITEMS: Final[Mapping[str, Mapping[str, bytes]]] = {
    "a message of which nothing is known": {},
    "a message with flags": {"UID": b"7", "FLAGS": b"(\\Seen)", "MODSEQ": b"(12)"},
    "a message with an envelope": {"ENVELOPE": b'("Mon, 7 Sep 2026 10:00:00 +0200" {4}\r\nodd\xff NIL NIL NIL NIL NIL NIL NIL "<a@b>")'},
    "a message with header fields": {"BODY[HEADER.FIELDS (CONTENT-TYPE)]": b"{41}\r\nContent-Type: multipart/mixed; boundary=x\r\n"},
    "a message with a header of any octets": {"BODY[HEADER]": b"{260}\r\nContent-Type: " + bytes(range(256)), "RFC822.HEADER": b"NIL"},
    "a message whose items are damaged": {"ENVELOPE": b"(", "INTERNALDATE": b"", "BODY[HEADER]": b"{99999"},
}
_UIDS: Final = (1, 4711, MOST_UID)


def check_sizer(where: str, sizers: Sequence[tuple[SessionView, BoundSizer]]) -> None:
    """`sizers`: the same one as it was made in several sessions of one user. Raises AssertionError in words."""
    for view, bound in sizers:
        sample = getattr(bound.sizer, "sample", None)
        assert isinstance(sample, int) and sample >= 0, f"{where}: its sample is a number of messages, 0 or more, and not {sample!r}"
        serves = _asked(where, "serves", bound.sizer.serves, view)
        assert isinstance(serves, bool), f"{where}: serves says yes or no, and not {serves!r}"
    for view, bound in sizers:
        for known in (False, True):
            for what, items in _ITEMS.items():
                _judge(f"{where}: {what}{', once it has learned' if known else ''}", view, bound, items)
            for what, items in _ITEMS.items():
                for size in _SIZES:
                    said = _asked(
                        f"{where}: {what}", "learn", bound.sizer.learn, view, Sketch("INBOX", 7, MappingProxyType(dict(items))), size
                    )
                    assert said is None, f"{where}: {what}: learn says nothing, and not {said!r}"
        _take_time(where, view, bound)


def _judge(where: str, view: SessionView, bound: BoundSizer, items: Mapping[str, bytes]) -> None:
    for uid in _UIDS:
        said = _asked(where, "estimate", bound.sizer.estimate, view, Sketch("INBOX", uid, MappingProxyType(dict(items))))
        assert isinstance(said, int) and not isinstance(said, bool), f"{where}: an estimate is a number of octets, and not {said!r}"
        assert 0 < said <= MOST_OCTETS, f"{where}: an estimate is 1 octet or more, and no more than {MOST_OCTETS}, and not {said}"


def _take_time(where: str, view: SessionView, bound: BoundSizer) -> None:
    """The one in the middle counts: the machine may have had something else to do meanwhile."""
    taken = []
    for uid in range(1, 100):
        began = thread_time()
        _asked(
            where,
            "estimate",
            bound.sizer.estimate,
            view,
            Sketch("INBOX", uid, MappingProxyType(dict(_ITEMS["a message with an envelope"]))),
        )
        taken.append(thread_time() - began)
    middle = sorted(taken)[len(taken) // 2]
    assert middle <= MOST_SECONDS, (
        f"{where}: estimate takes {middle * 1000:.1f} ms for a message, and is asked about each of a list that may have a hundred thousand"
    )


def _asked(where: str, hook: str, function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except Exception as error:
        raise AssertionError(f"{where}: {hook} raises: {raised(error)}") from error
