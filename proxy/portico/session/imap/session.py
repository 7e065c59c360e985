"""An IMAP session: the words of its life.

Rule of this file: what IMAP says where session.life moves on. RFC 9051 6.2, 7.1.
"""

from __future__ import annotations

from portico.session.annotations.judge import Judge
from portico.session.annotations.transform import Transforms
from portico.session.ask import one_line
from portico.session.context import Route
from portico.session.events import MAIN
from portico.session.imap.annotated import AnnotatedWatch
from portico.session.imap.announced import announced_with_mounts, withheld_for_annotations
from portico.session.imap.ending import BYE, judge
from portico.session.imap.front import Front
from portico.session.imap.mounted import MountedWatch
from portico.session.imap.sign_in import SignIn
from portico.session.imap.sized import SizedWatch
from portico.session.imap.watch import Watch
from portico.session.interests import Compiled
from portico.session.life import Life
from portico.session.roles import Wish
from portico.wire.capability import Listed


class ImapSession(Life):
    """One IMAP session, sans-IO."""

    __slots__ = ()

    _bye = BYE
    _judge = staticmethod(judge)

    def _make_front(self) -> Front:
        return Front(self.context, self.view)

    def _make_sign_in(self, route: Route, wish: Wish) -> SignIn:
        client_id = self._front.client_id if self._front is not None else {}
        return SignIn(self.context, MAIN, route, wish.attempt, client_id, wish.initial)

    def _make_watch(self, interests: Compiled | None, capabilities: list[bytes], traced: bool) -> Watch:
        ledger = self.context.ledger
        attempt = self._wish.attempt if self._wish is not None and interests is not None and interests.mounts else None
        if ledger is not None and self._annotates(interests):
            judge = Judge(self.view, interests.annotators if interests is not None else ())
            transforms = Transforms(self.view, interests.transformers if interests is not None else (), self.context.transform)
            return AnnotatedWatch(
                self.context, self.view, interests, capabilities, judge, transforms, ledger, traced=traced, attempt=attempt
            )
        if interests is not None and interests.sizers:
            return SizedWatch(self.context, self.view, interests, capabilities, traced=traced, attempt=attempt)
        if interests is not None and interests.mounts:
            return MountedWatch(self.context, self.view, interests, capabilities, traced=traced, attempt=attempt)
        return Watch(self.context, self.view, interests, capabilities, traced=traced)

    def _filter(self, listed: Listed, interests: Compiled | None) -> tuple[list[bytes], list[bytes]]:
        if interests is None and self.context.ledger is None:
            return listed.passed, listed.withheld
        annotates = self._annotates(interests)
        mounts = interests.mounts if interests is not None else ()
        sizes = interests is not None and bool(interests.sizers)
        memory = self.context.memory
        stores = [memory.capabilities(bound.mount.server) if memory is not None else None for bound in mounts]

        def kept(name: bytes) -> bool:
            return not ((annotates or sizes) and withheld_for_annotations(name)) and (not mounts or announced_with_mounts(name, stores))

        passed, withheld = listed.passed, listed.withheld
        return [name for name in passed if kept(name)], withheld + [name for name in passed if not kept(name)]

    def _annotates(self, interests: Compiled | None) -> bool:
        wanted = interests is not None and bool(interests.annotators or interests.transformers)
        return self.context.ledger is not None and (wanted or self._remembers)

    def _yes(self, capabilities: list[bytes], text: bytes) -> bytes:
        return b"%b OK [CAPABILITY %b] %b\r\n" % (self._tag, b" ".join(capabilities), text)

    def _no(self, code: str, text: bytes) -> bytes:
        return b"%b NO %b\r\n" % (self._tag, _coded(code, text))

    def _bad(self, text: bytes) -> bytes:
        return b"%b BAD %b\r\n" % (self._tag, text)

    def _goodbye(self, text: bytes, code: str = "") -> bytes:
        return b"* BYE %b\r\n" % _coded(code, text)

    @property
    def _tag(self) -> bytes:
        return self._front.tag if isinstance(self._front, Front) else b"*"


def _coded(code: str, text: bytes) -> bytes:
    """The text with its response code in front, where there is one."""
    return b"[%b] %b" % (one_line(code), text) if code else text
