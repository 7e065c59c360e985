"""A watched IMAP session in whose mailbox tree other accounts are mounted.

Rule of this file: when a job's steps are taken, and what of the servers' answers is whose; what becomes of a command is decided in
imap.mounts. One job at a time, begun when no leg has anything under way, so that answers keep the order of the commands; the client is not
read meanwhile. All other commands go to the leg of the selected mailbox. What a store volunteers is told only while its mailbox is the
selected one.
"""

from __future__ import annotations

import re
from typing import Final

from portico.errors import PeerError
from portico.session.ask import raised
from portico.session.close import Reason
from portico.session.context import Context, LoginAttempt, Route, SessionView
from portico.session.decisions import Close, Decision, Disconnect, Record, SendToServer, SetPhase
from portico.session.events import CLIENT, MAIN, Closed, Event, TimedOut
from portico.session.imap.announced import announced_with_mounts
from portico.session.imap.client_id import client_id
from portico.session.imap.commands import everything_on_main
from portico.session.imap.kinds import LISTS, NAMING, NEWS, NOT_THE_CLIENTS
from portico.session.imap.link import Link, Pending
from portico.session.imap.mounts import OF_THE_SELECTED, SETTLES, Mounts
from portico.session.imap.steps import Ask, Done, Forward, Got, Job, Reopen, Say, Step, unavailable, without_list
from portico.session.imap.store import Store
from portico.session.imap.transfer import Transfer, is_message
from portico.session.imap.watch import UNTAGGED, Watch, pattern
from portico.session.interests import BoundMount, Compiled, Refuse, Response
from portico.session.mounts.memory import Memory
from portico.session.mounts.tree import Place
from portico.wire.imap import CommandLine
from portico.wire.lines import Line, Literal
from portico.wire.skim import Piece

_TAG: Final = b"portico-m"
_AWAKE: Final = b"portico-awake"
_RESTING: Final = frozenset(["IDLE", "NOOP"])
"""What a client says now and then that has nothing else to say."""
_OF_STORES: Final = NAMING | NOT_THE_CLIENTS | frozenset(["OK", "NO", "BAD"])
_HIDDEN: Final = LISTS | frozenset(["STATUS"])
"""Responses of the main server that may name a mailbox which cannot be seen, because a mount has its name."""
_GONE: Final = Got(b"", [])
_SELECTED_GONE: Final = b"* BYE [UNAVAILABLE] The server of the selected folder closed the connection.\r\n"
_ANSWER: Final = 64 << 20
_EACH: Final = 256
"""Octets of all that a server may answer to one question of ours; each response counts for so many more, which it costs here."""
_ALL: Final = re.compile(rb"")
"""Of a store whose mailbox is not the selected one every response is looked at: nothing of it is the client's unless somebody knows why."""


class MountedWatch(Watch):
    """As Watch. `attempt`: as whom and with what the client signed in. Without mounts it is a Watch."""

    __slots__ = (
        "_asked_octets",
        "_attempt",
        "_client_id",
        "_count",
        "_fresh",
        "_got",
        "_memory",
        "_mounts",
        "_parked",
        "_spoilt",
        "_step",
        "_stores",
        "_task",
        "_to",
        "_touched",
        "_with_tag",
    )  # fmt: skip

    def __init__(
        self,
        context: Context,
        view: SessionView,
        interests: Compiled | None,
        capabilities: list[bytes],
        *,
        traced: bool = False,
        guarded: bool = False,
        attempt: LoginAttempt | None = None,
    ) -> None:
        mounts = interests.mounts if interests is not None else ()
        self._memory = context.memory or Memory()
        self._attempt = attempt
        self._stores = {number: _store(number, bound, context, view) for number, bound in enumerate(mounts, 1)}
        self._mounts = Mounts(self._stores, {}, self._memory, context.subscriptions, view.user)
        self._parked: tuple[CommandLine, bytes, bytes, Line | None] | None = None  # the client's command
        self._task: Job | None = None
        self._fresh = False  # the job has not begun
        self._step: Step | None = None
        self._with_tag = b""
        self._got: list[bytes] = []
        self._asked_octets = 0
        self._spoilt: Store | None = None  # it said what cannot be taken
        self._count = 0
        self._to: int | None = None
        self._touched: set[int] = set()  # legs that the job has asked
        super().__init__(context, view, interests, capabilities, traced=traced, guarded=guarded or bool(self._stores))
        self._mounts.links = self.links
        if self._stores:
            self.owner = self._owner
            self.named = self._mounts.names | {"ID"}

    def _owner(self, command: CommandLine) -> int:
        if self._to is not None:
            return self._to
        selected = self._mounts.selected
        return MAIN if selected is None or command.name not in OF_THE_SELECTED else selected

    # -- what is cut out of the streams

    @property
    def kinds(self) -> frozenset[str]:
        if not self._stores:
            return super().kinds | self._asked_kinds(MAIN)
        return super().kinds | _HIDDEN | (frozenset() if self._mounts.current in (None, MAIN) else NEWS) | self._asked_kinds(MAIN)

    def _pattern_of(self, leg: int) -> re.Pattern[bytes]:
        if self._mounts.current != leg:
            return _ALL
        return pattern(super().kinds | _OF_STORES | self._asked_kinds(leg))

    def _asked_kinds(self, leg: int) -> frozenset[str]:
        if isinstance(self._step, Ask):
            return self._step.kinds if self._step.leg == leg else frozenset()
        return frozenset(["FETCH"]) if self._transfers_from(leg) else frozenset()

    def _tune_all(self) -> None:
        for leg, link in self.links.items():
            if leg in self._stores:
                link.skimmer.want(self._pattern_of(leg))
        self._tune()

    def _tune(self) -> None:
        """What is cut out of the main server's stream."""
        if MAIN in self.links:
            self.links[MAIN].skimmer.want(pattern(self.kinds))

    def announces(self, name: bytes) -> bool:
        return super().announces(name) and (not self._stores or announced_with_mounts(name, self._mounts.capabilities))

    # -- events

    def begin(self, from_client: bytes, from_server: bytes, out: list[Decision]) -> None:
        for store in self._stores.values():
            if self._memory.capabilities(store.mount.server) is None:
                self._open(store, out)  # so that the next session can announce what it can do
        super().begin(from_client, from_server, out)

    def let_go(self) -> None:
        super().let_go()
        self._mounts.let_go()
        self.owner = everything_on_main  # ours looks at us

    def handle(self, event: Event, out: list[Decision]) -> None:
        leg = getattr(event, "leg", CLIENT)
        store = self._stores.get(leg)
        if store is None:
            super().handle(event, out)
        elif store.opening:
            self._opening(store, event, out)
        elif isinstance(event, TimedOut):
            self._late(store, event, out)
        elif store.state == "open":
            super().handle(event, out)
        if self._stores and not (out and isinstance(out[-1], Close)):
            if store is not None and (self._held or self.reader.held):
                self._read_client(out)
            self._clocks(leg, out)
        if self._stores and out and isinstance(out[-1], Close):
            self._sum_up_stores(out)

    def _sum_up_stores(self, out: list[Decision]) -> None:
        """For the log, before the session closes."""
        if (record := self._mounts.copies.unfinished()) is not None:
            out.insert(len(out) - 1, record)
        for store in self._stores.values():
            if store.asked:
                fields = {"server": store.mount.server, "prefix": store.mount.prefix, "asked": store.asked, "opened": store.opened}
                out.insert(len(out) - 1, Record("mount.used", fields))

    def _opening(self, store: Store, event: Event, out: list[Decision]) -> None:
        signed_in = store.handle(event, out)
        if signed_in is not None:
            self._memory.learned(store.mount.server, store.capabilities)
            self.add_link(store.leg, signed_in.capabilities)
            self._tune_all()
            out.append(Record("mount.opened", {"server": store.mount.server, "prefix": store.mount.prefix}))
            early, store.early = store.early, b""
            if early:
                self._from_server(self.links[store.leg], early, out)
        if not store.opening and self._step is store:
            self._advance(Got(b"OK", []) if store.state == "open" else _GONE, out)

    def _late(self, store: Store, event: TimedOut, out: list[Decision]) -> None:
        """A clock of the leg has run out."""
        if store.state == "resting":
            store.state = "closed"
        elif event.phase == "store_idle" and self._parked is not None:
            store.clock = ""  # somebody may need it right now
        elif event.phase == "store_idle":
            self.links.pop(store.leg, None)
            store.state = "closed"
            out.append(SendToServer(store.leg, _TAG + b" LOGOUT\r\n"))
            out.append(Disconnect(store.leg))
        elif event.phase == "store":
            out.append(Disconnect(store.leg))
            self._lost(store, "timeout", "no answer", out)

    def _clocks(self, leg: int, out: list[Decision]) -> None:
        """A store that owes an answer has a clock, which begins anew whenever it says something, or is given something; one that nobody
        needs has another."""
        given = {decision.leg for decision in out if isinstance(decision, SendToServer)}
        for store in self._stores.values():
            link = self.links.get(store.leg)
            if store.state != "open" or link is None:
                continue
            if isinstance(self._step, Transfer) and self._step.owes(store.leg) is False:
                phase = ""  # it has what it was given, and more is to come; or what it says is not read now
            elif any(pending.name != "IDLE" or pending.waits for pending in link.pending.values()):
                phase = "store"
            else:
                phase = "" if self._mounts.current == store.leg else "store_idle"
            if phase != store.clock or (phase == "store" and (leg == store.leg or store.leg in given)):
                store.clock = phase
                out.append(SetPhase(phase, store.leg))

    def _closed(self, event: Closed, out: list[Decision]) -> None:
        store = self._stores.get(event.leg)
        if store is None:
            super()._closed(event, out)
        else:
            self._lost(store, "closed", event.detail, out)

    def _lost(self, store: Store, reason: str, detail: str, out: list[Decision]) -> None:
        """A store that was signed in is gone. Where its mailbox was selected IMAP has no word for that but BYE."""
        leg, link = store.leg, self.links.pop(store.leg, None)
        store.rest(out)
        store.clock = ""
        if self._mounts.selecting == leg:
            self.mailbox = None
        out.append(Record("mount.failed", {"server": store.mount.server, "prefix": store.mount.prefix, "reason": reason, "detail": detail}))
        if self.outlet.floor == leg or ((self._task is None or self._fresh) and self._mounts.selected == leg):
            self._say_bye(_SELECTED_GONE, out)
            out.append(Close(Reason.SERVER_CLOSED, "server", detail))
            return
        if self._stream_tag is not None and self._stream_leg == leg:
            self._stream_ended(False)
        for tag in link.pending if link is not None else ():
            if not tag.startswith(b"portico-"):
                self.outlet.compose(tag + b" " + unavailable(store) + b"\r\n", out)
        if isinstance(self._step, Transfer):
            self._step.lost(leg, out)
            self._transferred(out)
        elif isinstance(self._step, Ask) and self._step.leg == leg:
            self._with_tag = b""
            self._advance(_GONE, out)
        else:
            self._go(out)

    @property
    def _busy(self) -> bool:
        return self._parked is not None or super()._busy

    # -- from the client

    def _must_wait(self) -> bool:
        if self._parked is not None or super()._must_wait():
            return True
        # What another leg owes comes before the answer to the next command, which may be another leg's.
        return bool(self._stores) and self._stream_tag is None and self._elsewhere

    @property
    def _elsewhere(self) -> bool:
        """Something is under way on another leg than that of the selected mailbox."""
        here = MAIN if self._mounts.selected is None else self._mounts.selected
        return any(link.pending for leg, link in self.links.items() if leg != here)

    def _send(self, head: CommandLine, opening: bytes, arguments: bytes, message: Line | None, out: list[Decision]) -> None:
        if head.name == "ID" and self._stores:
            self._heard_id(arguments)
        elif head.name in SETTLES and self._stores:
            for plugin, error in self._mounts.settle(self.view):
                out.append(Record("plugin.failed", {"plugin": plugin, "hook": "mount serves", "error": raised(error)}))
        if head.name not in self._mounts.names or (self._mounts.plain(head, arguments) and not self._elsewhere):
            super()._send(head, opening, arguments, message, out)
            return
        if message is not None and head.name != "APPEND":
            self._refuse_command(head, Refuse("This literal is too large.", "TOOBIG"), message, out)  # no mailbox is called so
            return
        self._park(head, opening, arguments, message, self._mounts.job(head, arguments), out)

    def _heard_id(self, arguments: bytes) -> None:
        """Most mail programs say who they are when they have signed in (RFC 2971); plugins are asked about them later."""
        try:
            self.view.client_id = client_id(arguments)
        except PeerError:
            return  # the server will say what is wrong

    def _park(self, head: CommandLine, opening: bytes, arguments: bytes, message: Line | None, job: Job, out: list[Decision]) -> None:
        """The command waits for a job, which begins once nothing of the client's is under way."""
        self._parked = (head, opening, arguments, message)
        self._task, self._fresh = job, True
        self._go(out)

    def _forward(self, leg: int, tag: bytes, pending: Pending, line: Line, out: list[Decision]) -> None:
        super()._forward(leg, tag, pending, line, out)
        if leg in self._stores:
            self._stores[leg].asked += 1
        main = self.links.get(MAIN)
        if leg in self._stores and pending.name in _RESTING and main is not None and not main.pending:
            # The main server hears nothing while another one's mailbox is selected, and would take the client for gone (RFC 9051 5.4).
            main.send_command(_AWAKE, Pending(""), _AWAKE + b" NOOP\r\n", out)

    # -- jobs

    def _go(self, out: list[Decision]) -> None:
        """Begin the job, once nothing of the client's is under way."""
        if self._parked is None or not self._fresh or any(link.pending for link in self.links.values()):
            return
        self._fresh = False
        self._advance(None, out)

    def _advance(self, got: Got | None, out: list[Decision]) -> None:
        """Go on with the job until it waits for a leg, or is done."""
        job = self._task
        assert job is not None
        while True:
            self._step = None
            try:
                step = next(job) if got is None else job.send(got)
            except StopIteration as end:
                self._task = None
                for leg in self._touched:
                    self._stores[leg].asked += 1
                self._touched.clear()
                self._tune_all()
                self._finish(end.value, out)
                return
            got = self._take(step, out)
            if got is None:
                return

    def _take(self, step: Step, out: list[Decision]) -> Got | None:
        """Take a step. None: its end is an event to come."""
        if isinstance(step, Say):
            self.outlet.compose(step.data, out)
            return Got(b"OK", [])
        if isinstance(step, Record):
            out.append(step)
            return Got(b"OK", [])
        if isinstance(step, Disconnect):
            if self.links.pop(step.leg, None) is not None:
                out.append(SendToServer(step.leg, _TAG + b" LOGOUT\r\n"))  # nobody waits for its answer
            self._stores[step.leg].state = "closed"
            self._mounts.left(step.leg)
            out.append(step)
            return Got(b"OK", [])
        if isinstance(step, Reopen):
            if step.store.state == "resting":
                step.store.state = "closed"
            return Got(b"OK", [])
        if isinstance(step, Store):
            if step.state == "closed":
                self._open(step, out)
            self._step = step
            return None if step.opening else Got(b"OK", []) if step.state == "open" else _GONE
        if isinstance(step, Transfer):
            if step.target not in self.links:
                return _GONE
            self._step = step
            self._touched |= self._stores.keys() & {step.source, step.target}
            self.links[step.source].skimmer.streams = is_message
            self._tune_all()
            step.begin(out)
            return None
        link = self.links.get(step.leg)
        if link is None:
            return _GONE
        self._step, self._got, self._asked_octets = step, [], 0
        self._tune_all()
        if step.leg in self._stores:
            self._touched.add(step.leg)
            self._stores[step.leg].opened += step.name in ("SELECT", "EXAMINE")
        if step.name in ("SELECT", "EXAMINE"):
            self._selects(step.leg, step.mailbox, out)
        self._count += 1
        self._with_tag = _TAG + b"%d" % self._count
        link.send_command(self._with_tag, Pending(step.name, step.mailbox), b"%b %b\r\n" % (self._with_tag, step.command), out)
        return None

    def _finish(self, end: Forward | Done, out: list[Decision]) -> None:
        assert self._parked is not None
        (head, opening, _, message), self._parked = self._parked, None
        lost = self._mounts.selected not in (None, *self.links)  # meanwhile
        if isinstance(end, Forward) and (lost or end.leg not in self.links):
            end = Done(unavailable(self._stores[end.leg if end.leg in self._stores else self._mounts.selected or end.leg]))
        if isinstance(end, Forward):
            self._to = end.leg
            Watch._send(self, head, opening, end.arguments, message, out)
            self._to = None
            return
        line = self._filter_code(b"%b %b\r\n" % (head.tag, end.rest))
        self.outlet.compose(self._asked(Response("TAGGED", line, None, head.name, self.mailbox), out) or line, out)
        if message is not None:
            self._pass_over(message)
        if lost:
            self._say_bye(_SELECTED_GONE, out)
            out.append(Close(Reason.SERVER_CLOSED, "server"))

    def _stream(self, piece: Line | Literal, out: list[Decision]) -> None:
        if self._stream_leg in self._stores and isinstance(piece, Line) and b"CATENATE" in piece.data.upper():
            raise PeerError("This extension is not offered", fatal=True)  # RFC 4469: its URLs name mailboxes
        super()._stream(piece, out)

    def _open(self, store: Store, out: list[Decision]) -> None:
        attempt = self._attempt or LoginAttempt(self.view.user, "PLAIN")
        store.open(self.context, self._route_to(store), attempt, dict(self.view.client_id), out)

    def _route_to(self, store: Store) -> Route | None:
        """As whom to sign in there; None: that cannot be. The main server has let the client in as the session's user, which is the proof
        that a master user and another's password need."""
        mount, attempt = store.mount, self._attempt
        if store.target is None:
            return None
        user = mount.user or (attempt.authzid if attempt is not None and attempt.authzid else self.view.user)
        if mount.master_user:
            return Route(store.target, user, mount.master_user, mount.master_password, verified=True)
        if mount.password is not None:
            return Route(store.target, user, password=mount.password, verified=True)
        if mount.user or attempt is None or attempt.password is None or attempt.authzid not in ("", attempt.user):
            return None
        return Route(store.target, attempt.user)

    # -- from a server

    def _continuation(self, link: Link, raw: bytes, out: list[Decision]) -> None:
        asked = self._step
        if isinstance(asked, Transfer) and link.leg == asked.target:
            if not link.go_ahead(out):
                asked.go_ahead(out)
                self._transferred(out)
            return
        # A store that says ``+`` unasked would have the client send a literal that another server waits for.
        streamed = self._stream_tag is not None and self._stream_leg == link.leg and (self._stream_sync or self._stream_asked)
        if link.leg in self._stores and not (link.blocked or streamed or any(pending.waits for pending in link.pending.values())):
            return
        super()._continuation(link, raw, out)

    def _run(self, link: Link, octets: bytes, whole: bool, out: list[Decision]) -> None:
        if link.leg not in self._stores or self._mounts.current == link.leg:
            super()._run(link, octets, whole, out)

    def _not_held(self, link: Link, kind: str, head: bytes, out: list[Decision]) -> None:
        store = self._stores.get(link.leg)
        if store is None:
            super()._not_held(link, kind, head, out)
        elif kind == "TAGGED" or self._mounts.current != link.leg:
            self._spoilt = store

    def _from_server(self, link: Link, data: bytes, out: list[Decision]) -> None:
        super()._from_server(link, data, out)
        store, self._spoilt = self._spoilt, None
        if store is not None and store.leg in self.links and not (out and isinstance(out[-1], Close)):
            out.append(Disconnect(store.leg))
            self._lost(store, "protocol", "an answer that is too long", out)

    def _response(self, link: Link, raw: bytes, out: list[Decision]) -> None:
        match = UNTAGGED.match(raw)
        if match is None or not (self._stores or self._step is not None):
            super()._response(link, raw, out)
            return
        kind = match[2].decode("ascii").upper()
        store = self._stores.get(link.leg)
        told: bytes | None = raw
        asked = self._step
        if isinstance(asked, Ask) and asked.leg == link.leg and kind in asked.kinds and b"[ALERT]" not in raw[:64].upper():
            self._asked_octets += len(raw) + _EACH
            if self._asked_octets > _ANSWER:
                self._spoilt = store  # of the main server no more is kept, and the answer is no
            elif asked.take is not None:
                said = asked.take(raw)
                if said:
                    self.outlet.compose(said, out)
            else:
                self._got.append(raw)
            return
        if kind in NEWS and self._stores:
            told = raw if self._mounts.current == link.leg or (store is None and self._mounts.current is None) else None
        elif store is None:
            told = None if kind in _HIDDEN and self._mounts.hides(kind, raw) else raw
        elif kind in NAMING:
            told = self._mounts.mapped(store, kind, raw)
        elif kind in ("OK", "NO", "BAD"):
            own = self._mounts.current == link.leg or b"[ALERT]" in raw[:64].upper()
            told = without_list(self._mounts.permanent(store, raw)) if own else None
        elif kind in NOT_THE_CLIENTS:
            link.said_bye = link.said_bye or kind == "BYE"
            told = None
        elif self._mounts.current != link.leg:
            told = None
        if told is not None:
            super()._response(link, told, out)

    def _streamed(self, link: Link, piece: Piece, octets: bytes, out: list[Decision]) -> None:
        if isinstance(self._step, Transfer) and link.leg == self._step.source:
            self._step.piece(piece, octets, out)
            self._transferred(out)
        else:
            super()._streamed(link, piece, octets, out)

    def _transfers_from(self, leg: int) -> bool:
        return isinstance(self._step, Transfer) and self._step.source == leg

    def _transferred(self, out: list[Decision]) -> None:
        """Something has come of a transfer."""
        transfer = self._step
        if isinstance(transfer, Transfer) and transfer.over:
            link = self.links.get(transfer.source)
            if link is not None:
                link.skimmer.streams = self._usual_streams(link.leg)
            self._advance(Got(transfer.rest, []), out)

    def _tagged(self, link: Link, raw: bytes, out: list[Decision]) -> None:
        tag, _, rest = raw.partition(b" ")
        asked = self._step
        if isinstance(asked, Ask) and asked.leg == link.leg and tag == self._with_tag:
            self._completed(link, raw)
            self._with_tag = b""
            too_much = self._asked_octets > _ANSWER
            self._advance(Got(b"NO [LIMIT] This is too much.", []) if too_much else Got(rest.rstrip(b"\r\n"), self._got), out)
        elif link.leg == MAIN and tag == _AWAKE:
            self._completed(link, raw)
            self._go(out)
        elif link.leg in self._stores and tag not in link.pending:
            return  # nobody asked it; the tag may be that of a command at another server
        elif isinstance(asked, Transfer) and tag.startswith(b"portico-"):
            self._completed(link, raw)
            asked.answers(link.leg, tag, rest.rstrip(b"\r\n"), out)
            self._transferred(out)
        else:
            super()._tagged(link, without_list(raw) if link.leg in self._stores else raw, out)
            self._go(out)

    def _completed(self, link: Link, raw: bytes) -> str:
        tag, _, rest = raw.partition(b" ")
        pending = link.pending.get(tag)
        name = super()._completed(link, raw)
        if self._stores and pending is not None and name:
            self._mounts.completed(name, link.leg, rest, pending.mailbox)
            self._tune_all()
        return name


def _store(number: int, bound: BoundMount, context: Context, view: SessionView) -> Store:
    mount = bound.mount
    account = f"{mount.server}/{mount.root}/{mount.user or view.user}"
    return Store(number, mount, bound.plugin, context.targets.get(mount.server), Place(mount), account)
