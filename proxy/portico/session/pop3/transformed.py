"""A watched POP3 session whose messages may be transformed.

Rule of this file: as pop3.annotated, of which it is a part where transformers take part or have done so; bodies are in pop3.transform. A
message is read when it is first retrieved; before that TOP and LIST are about the server's.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from portico.errors import PeerError
from portico.session.annotations.annotation import Annotation, Ledger
from portico.session.annotations.judge import Judge
from portico.session.annotations.outline import outline_of_message
from portico.session.annotations.transform import Made, Transforms
from portico.session.context import Context, SessionView
from portico.session.decisions import Record
from portico.session.interests import Compiled
from portico.session.pop3.annotate import Examined
from portico.session.pop3.annotated import OCTETS, AnnotatedWatch
from portico.session.pop3.transform import LOST, Again, Considered, Replaced, shown
from portico.session.pop3.watch import Pending
from portico.wire.mime import scan

_INBOX: Final = "INBOX"


class TransformedWatch(AnnotatedWatch):
    """As AnnotatedWatch, with transformers too."""

    __slots__ = ("_annotates", "_transforms")

    def __init__(
        self,
        context: Context,
        view: SessionView,
        interests: Compiled | None,
        judge: Judge,
        transforms: Transforms,
        ledger: Ledger,
        *,
        traced: bool = False,
    ) -> None:
        super().__init__(context, view, interests, judge, ledger, traced=traced)
        self._transforms = transforms
        self._annotates = interests is not None and bool(interests.annotators)

    def _begin_body(self, pending: Pending, line: bytes) -> bytes:
        uid = (self._uids or {}).get(pending.number, "")
        made = self._known.annotations.get(uid)
        if made is not None and made.whole is not None:
            return self._known_body(pending, uid, made, line)
        if made is None and self._transforms and pending.name == "RETR" and self._is_new(uid):
            self._withheld = True
            size = self._told_size(line)
            on = None
            if self._annotates:
                on = Examined(self._judge, uid, size, lambda: self._now, lambda found, _: self._judged(uid, found, True))
            self._passing = Considered(
                line,
                self._transforms.most,
                partial(self._shown_first, uid, size),
                partial(_told, line),
                partial(self._stays, uid),
                on,
            )
            return line
        return super()._begin_body(pending, line)

    def _stays(self, uid: str) -> None:
        self._judged(uid, None, True)

    def _known_body(self, pending: Pending, uid: str, made: Annotation, line: bytes) -> bytes:
        assert made.whole is not None
        message = self._ledger.message(self._mailbox, uid, made.whole)
        status = _told(line, made.whole.size) if pending.name == "RETR" else line
        if pending.name == "RETR":
            self._count(uid)
        if message is not None:
            self._passing = Replaced(partial(shown, message, pending.lines if pending.name == "TOP" else -1))
            return status
        self._withheld = True
        if pending.name == "TOP":
            self._lost(uid, "there was no room for it; it is made again when it is retrieved")
            self._passing = Replaced(lambda: LOST)
        else:
            self._passing = Again(status, max(made.size, self._transforms.most), partial(self._shown_again, uid, made))
        return line

    # -- what is made of a message

    def _made(self, uid: str, size: int, message: bytes) -> Made | None:
        try:
            outline = outline_of_message(uid, size or len(message), scan(message))
        except PeerError:
            return None
        return self._transforms.made(self._transforms.wanted(outline, self._now), outline, message, self._now)

    def _shown_first(self, uid: str, size: int, message: bytes) -> Made | None:
        made = self._made(uid, size, message)
        if made is None:
            return None
        self._ledger.show(self._mailbox, uid, made.annotation, made.message, made.told)
        self._judged(uid, made.annotation, True)
        return made if self._known.annotations.get(uid) == made.annotation else None  # another session may have said otherwise before

    def _shown_again(self, uid: str, known: Annotation, message: bytes) -> bytes | None:
        made = self._made(uid, known.size, message)
        if made is None or made.annotation.whole != known.whole:
            self._lost(uid, "no plugin makes the same of it again")
            return None
        self._ledger.show(self._mailbox, uid, known, made.message, made.told)
        return made.message

    def _lost(self, uid: str, text: str) -> None:
        self._now.append(Record("annotations.transform_lost", {"mailbox": _INBOX, "uid": uid, "text": text}))


def _told(line: bytes, size: int) -> bytes:
    """A status line with another number of octets, where it tells one."""
    return OCTETS.sub(b"+OK %d octets" % size, line, count=1)
