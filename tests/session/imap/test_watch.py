"""A watched session: what nobody asked for passes octet for octet; what is asked for is seen, changed, answered, refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.config.settings import Listener
from portico.session.close import Reason
from portico.session.context import Context, Peer, SessionView
from portico.session.decisions import (
    Close,
    Decision,
    HoldClient,
    HoldServer,
    ReadClient,
    ReadServer,
    Record,
    SendToClient,
    SendToServer,
    Trace,
)
from portico.session.events import CLIENT, MAIN, BytesReceived, Closed, Event, Kicked
from portico.session.imap.watch import Watch
from portico.session.interests import Answer, Change, Command, Drop, FetchItem, Interests, Refuse, Response, compile_interests
from portico.wire.imap import CommandLine

DOVECOT = [b"IMAP4rev1", b"LITERAL+", b"IDLE"]
COURIER = [b"IMAP4rev1", b"IDLE"]


class Room:
    """A Watch with what it sent, side by side."""

    def __init__(
        self,
        interests: Interests | None = None,
        capabilities: list[bytes] = DOVECOT,
        owner: Callable[[CommandLine], int] | None = None,
        traced: bool = False,
        **limits: Any,
    ) -> None:
        settings = Listener.model_validate({"protocol": "imap", "addresses": ["127.0.0.1:0"], "limits": limits})
        peer = Peer("192.0.2.1", 1, "192.0.2.2", 993)
        view = SessionView("s1", "imap", "l", peer, user="alice", server="main")
        context = Context("s1", "imap", "l", peer, settings)
        compiled = compile_interests(view, [("p", interests)])
        more = {} if owner is None else {"owner": owner}
        self.watch = Watch(context, view, compiled, capabilities, traced=traced, **more)
        self.to_client = b""
        self.to_server: dict[int, bytes] = {}
        self.others: list[Decision] = []

    def tell(self, event: Event) -> None:
        out: list[Decision] = []
        self.watch.handle(event, out)
        for decision in out:
            if isinstance(decision, SendToClient):
                self.to_client += decision.data
            elif isinstance(decision, SendToServer):
                self.to_server[decision.leg] = self.to_server.get(decision.leg, b"") + decision.data
            else:
                self.others.append(decision)

    def client(self, data: bytes) -> None:
        self.tell(BytesReceived(CLIENT, data))

    def server(self, data: bytes, leg: int = MAIN) -> None:
        self.tell(BytesReceived(leg, data))

    def take(self) -> tuple[bytes, bytes]:
        """What went to the client and to the main server since the last call."""
        said = self.to_client, self.to_server.pop(MAIN, b"")
        self.to_client = b""
        return said

    def records(self) -> list[tuple[str, Mapping[str, Any]]]:
        return [(other.event, other.fields) for other in self.others if isinstance(other, Record)]


CLIENT_SIDE = [
    b"a1 SELECT INBOX\r\n", b"a2 UID FETCH 1:* (FLAGS BODY[])\r\n", b"a3 APPEND x (\\Seen) {5+}\r\nhello\r\n", b"a4 IDLE\r\nDONE\r\n",
    b"a5 SEARCH SUBJECT {3+}\r\nabc TEXT {1+}\r\nx\r\n", b"a6 select {5+}\r\nINBOX\r\n", b"a7 X\r\n", b"a8 uid SEARCH ALL\r\n", b"a9 LIST \"\" *\r\n",
]  # fmt: skip
SERVER_SIDE = [
    b"* 5 EXISTS\r\n", b"* 1 FETCH (FLAGS () BODY[] {9}\r\na7 OK \r\n)\r\n", b"a1 OK [READ-WRITE] done\r\n", b"* LIST () \"/\" {3}\r\nabc\r\n",
    b"+ idling\r\n", b"a2 NO [X] text {9}\r\n", b"* OK still here\r\n", b"* SEARCH 1 2 3\r\n", b"odd line\r\n", b"* 2 FETCH (UID 3)\n",
]  # fmt: skip


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=12),
    st.lists(st.integers(0, 400), max_size=12),
    st.booleans(),
)
def test_where_nobody_is_interested_octets_in_are_octets_out(letters: list[tuple[bool, int]], points: list[int], traced: bool) -> None:
    room = Room(traced=traced)
    client = b"".join(dict.fromkeys(CLIENT_SIDE[index % len(CLIENT_SIDE)] for is_client, index in letters if is_client))
    server = b"".join(SERVER_SIDE[index % len(SERVER_SIDE)] for is_client, index in letters if not is_client)
    for say, data in ((room.client, client), (room.server, server)):
        edges = [0, *sorted(point % (len(data) + 1) for point in points), len(data)]
        for a, b in itertools.pairwise(edges):
            if a < b:
                say(data[a:b])
    assert room.to_client == server
    assert room.to_server.get(MAIN, b"") == client
    assert not [other for other in room.others if not isinstance(other, Trace)]


@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=80)), max_size=20))
def test_any_octets_give_decisions_and_never_an_exception(chunks: list[tuple[bool, bytes]]) -> None:
    seen: list[object] = []
    interests = Interests(
        commands={"LOGIN": lambda view, command: None},
        responses={"FETCH": lambda view, response: seen.append(response)},
        fetch_items={"UID": lambda view, item: b"1"},
    )
    room = Room(interests, line=200, held=300)
    for is_client, data in chunks:
        if any(isinstance(other, Close) for other in room.others):
            return
        (room.client if is_client else room.server)(data)
    assert room.watch.reader.held <= 200 + 80


# -- commands


def test_a_command_is_observed_and_goes_on_as_it_came() -> None:
    seen: list[Command] = []
    room = Room(Interests(commands={"SELECT": lambda view, command: seen.append(command)}))
    room.client(b'a1 select  "My Box" (CONDSTORE)\r\na2 NOOP\r\n')
    assert room.take() == (b"", b'a1 select  "My Box" (CONDSTORE)\r\na2 NOOP\r\n')
    assert [(c.name, c.arguments, c.tag) for c in seen] == [("SELECT", b' "My Box" (CONDSTORE)', b"a1")]


def test_a_command_is_changed() -> None:
    room = Room(Interests(commands={"FETCH": lambda view, command: Change(command.arguments.replace(b"RFC822.SIZE", b"UID"))}))
    room.client(b"a1 UID FETCH 1:* (FLAGS RFC822.SIZE)\r\n")
    assert room.take() == (b"", b"a1 UID FETCH 1:* (FLAGS UID)\r\n")


def test_a_command_is_refused_and_the_next_one_is_not() -> None:
    room = Room(Interests(commands={"DELETE": lambda view, command: Refuse("Not here.", "NOPERM")}))
    room.client(b"a1 DELETE x\r\na2 NOOP\r\n")
    assert room.take() == (b"a1 NO [NOPERM] Not here.\r\n", b"a2 NOOP\r\n")


def test_a_command_is_answered_without_the_server() -> None:
    room = Room(Interests(commands={"GETQUOTAROOT": lambda view, command: Answer("Done.", [b'QUOTAROOT INBOX ""'])}))
    room.client(b"a1 GETQUOTAROOT INBOX\r\n")
    assert room.take() == (b'* QUOTAROOT INBOX ""\r\na1 OK Done.\r\n', b"")


def test_our_answer_never_goes_into_an_open_literal() -> None:
    room = Room(Interests(commands={"NOOP": lambda view, command: Answer()}))
    room.client(b"a1 FETCH 1 BODY[]\r\n")
    room.server(b"* 1 FETCH (BODY[] {10}\r\n01234")
    room.client(b"a2 NOOP\r\n")
    room.server(b"56789")
    room.server(b")\r\n* 2 EXISTS\r\na1 OK done\r\n")
    assert room.to_client == b"* 1 FETCH (BODY[] {10}\r\n0123456789)\r\na2 OK Completed.\r\n* 2 EXISTS\r\na1 OK done\r\n"


def test_synchronising_literals_of_an_interesting_command_are_asked_for_and_given_on() -> None:
    seen: list[bytes] = []
    room = Room(Interests(commands={"CREATE": lambda view, command: seen.append(command.arguments)}))
    room.client(b"a1 CREATE {3}\r\n")
    assert room.take() == (b"+ OK\r\n", b"")
    room.client(b"abc\r\n")
    assert room.take() == (b"", b"a1 CREATE {3}\r\n")
    room.server(b"+ go\r\n")
    assert room.take() == (b"", b"abc\r\n")
    assert seen == [b"{3}\r\nabc"]


def test_where_nobody_asks_about_commands_a_literal_that_we_have_read_goes_on_at_once() -> None:
    room = Room()
    room.client(b"a1 SELECT {5}\r\n")
    room.client(b"INBOX\r\n")
    assert room.take() == (b"+ OK\r\n", b"a1 SELECT {5+}\r\nINBOX\r\n")


def test_a_server_without_literal_plus_is_asked_step_by_step() -> None:
    room = Room(Interests(commands={"RENAME": lambda view, command: None}), COURIER)
    room.client(b"a1 RENAME {3}\r\n")
    room.client(b"abc {2}\r\n")
    room.client(b"de\r\na2 NOOP\r\n")
    assert room.take() == (b"+ OK\r\n+ OK\r\n", b"a1 RENAME {3}\r\n")
    assert isinstance(room.others[-1], HoldClient)
    room.server(b"+ go\r\n")
    assert room.take() == (b"", b"abc {2}\r\n")
    room.server(b"+ go\r\n")
    assert room.take() == (b"", b"de\r\na2 NOOP\r\n")
    assert isinstance(room.others[-1], ReadClient)


def test_a_server_that_refuses_in_the_middle_of_the_steps_gets_no_more_of_them() -> None:
    room = Room(Interests(commands={"RENAME": lambda view, command: None}), COURIER)
    room.client(b"a1 RENAME {3+}\r\nabc {2+}\r\nde\r\na2 NOOP\r\n")
    room.server(b"a1 NO not that\r\n")
    assert room.take() == (b"a1 NO not that\r\n", b"a1 RENAME {3}\r\na2 NOOP\r\n")


def test_append_is_seen_by_its_head_and_its_message_streams() -> None:
    seen: list[tuple[bytes, bool]] = []
    room = Room(Interests(commands={"APPEND": lambda view, command: seen.append((command.arguments, command.head_only))}), held=1000)
    room.client(b"a1 APPEND {5}\r\n")
    assert room.take() == (b"+ OK\r\n", b"")
    room.client(b"INBOX (\\Seen) {50000}\r\n")
    assert room.take() == (b"", b"a1 APPEND {5}\r\n")
    room.server(b"+ the name\r\n")
    assert room.take() == (b"", b"INBOX (\\Seen) {50000}\r\n")
    assert seen == [(b"{5}\r\nINBOX (\\Seen) {50000}", True)]
    room.server(b"+ send it\r\n")
    assert room.take() == (b"+ send it\r\n", b"")
    room.client(b"x" * 30000)
    room.client(b"x" * 20000 + b"\r\na2 NOOP\r\n")
    assert room.take() == (b"", b"x" * 50000 + b"\r\na2 NOOP\r\n")


@pytest.mark.parametrize(("announced", "rest"), [(b"{9}", b""), (b"{9+}", b"a9 LOGOUT\r\n")])
def test_a_refused_append_swallows_its_message_only_if_it_comes(announced: bytes, rest: bytes) -> None:
    room = Room(Interests(commands={"APPEND": lambda view, command: Refuse("Read only.")}))
    room.client(b"a1 APPEND x " + announced + b"\r\n" + (b"a9 LOGOUT\r\n"[:9] + b"\r\n" if rest else b""))
    room.client(b"a2 NOOP\r\n")
    assert room.take() == (b"a1 NO Read only.\r\n", b"a2 NOOP\r\n")


def test_a_literal_refused_by_the_server_is_not_waited_for() -> None:
    room = Room()
    room.client(b"a1 APPEND x {10}\r\n")
    room.server(b"a1 NO [TRYCREATE] no such mailbox\r\n")
    room.client(b"a2 CREATE x\r\n")
    assert room.take() == (b"a1 NO [TRYCREATE] no such mailbox\r\n", b"a1 APPEND x {10}\r\na2 CREATE x\r\n")
    room.client(b"a3 APPEND x {2}\r\n")
    room.server(b"+ ok\r\n")
    room.client(b"hi\r\na4 NOOP\r\n")
    assert room.take()[1] == b"a3 APPEND x {2}\r\nhi\r\na4 NOOP\r\n"


def test_an_early_no_to_a_literal_that_comes_unasked_does_not_make_a_command_of_it() -> None:
    seen: list[Command] = []
    room = Room(Interests(commands={"DELETE": lambda view, command: seen.append(command)}))
    room.client(b"a1 APPEND gone {18+}\r\n")
    room.server(b"a1 NO [TRYCREATE] no such mailbox\r\n")
    room.client(b"a2 DELETE Trash\r\nx\r\n")
    assert room.take()[1] == b"a1 APPEND gone {18}\r\n"
    assert not seen
    room.client(b"a3 NOOP\r\n")
    assert room.take()[1] == b"a3 NOOP\r\n"


def test_a_refused_empty_literal_leaves_nothing_behind() -> None:
    room = Room()
    room.client(b"a1 APPEND gone {0}\r\n")
    room.server(b"a1 NO no such mailbox\r\n")
    room.client(b"a2 IDLE\r\n")
    room.client(b"DONE\r\na3 NOOP\r\n")
    assert room.take()[1] == b"a1 APPEND gone {0}\r\na2 IDLE\r\nDONE\r\na3 NOOP\r\n"


@pytest.mark.parametrize("line", [b"a%b DELETE x", b" a DELETE x", b"((", b"", b"a1", b"a%b DELETE {9+}\r\na2 NOOP\r\n"])
def test_what_cannot_be_read_does_not_reach_the_server(line: bytes) -> None:
    room = Room(Interests(commands={"DELETE": lambda view, command: Refuse("No.")}))
    room.client(line + b"\r\nz NOOP\r\n")
    client, server = room.take()
    assert server == b"z NOOP\r\n"
    assert b" BAD " in client


def test_a_tag_in_use_is_refused() -> None:
    room = Room()
    room.client(b"a1 NOOP\r\na1 NOOP\r\n")
    assert room.take() == (b"a1 BAD This tag is in use\r\n", b"a1 NOOP\r\n")
    room.server(b"a1 OK\r\n")
    room.client(b"a1 NOOP\r\n")
    assert room.take() == (b"a1 OK\r\n", b"a1 NOOP\r\n")


def test_a_leg_that_has_to_wait_too_long_for_the_floor_is_not_read_meanwhile() -> None:
    room = Room(owner=lambda command: MAIN, held=1000)
    room.watch.add_link(1, [b"IMAP4rev1"])
    room.server(b"* 1 FETCH (BODY[] {6}\r\nabc")
    room.server(b"* LIST () NIL x\r\n" * 100, leg=1)
    assert room.others == [HoldServer(1)]
    room.server(b"def)\r\n")
    assert room.others[-1] == ReadServer(1)
    assert room.to_client == b"* 1 FETCH (BODY[] {6}\r\nabcdef)\r\n" + b"* LIST () NIL x\r\n" * 100


def test_the_selected_mailbox_is_known_to_handlers() -> None:
    seen: list[bytes | None] = []
    room = Room(Interests(commands={"EXPUNGE": lambda view, command: seen.append(command.mailbox)}))
    for select, answer in ((b"a1 SELECT INBOX", b"a1 OK x"), (b'a2 EXAMINE "A b"', b"a2 OK x"), (b"a3 SELECT gone", b"a3 NO x")):
        room.client(select + b"\r\n")
        room.server(answer + b"\r\n")
        room.client(b"e EXPUNGE\r\n")
        room.server(b"e OK\r\n")
    assert seen == [b"INBOX", b"A b", None]


def test_idle_lasts_until_done_and_a_refused_idle_ends_at_once() -> None:
    seen: list[str] = []
    room = Room(Interests(commands={"NOOP": lambda view, command: seen.append("noop")}))
    room.client(b"a1 IDLE\r\n")
    room.server(b"+ idling\r\n* 3 EXISTS\r\n")
    room.client(b"DONE\r\na2 NOOP\r\na3 IDLE\r\n")
    room.server(b"a1 OK\r\na2 OK\r\na3 NO not now\r\n")
    room.client(b"a4 NOOP\r\n")
    assert seen == ["noop", "noop"]
    assert room.take()[1] == b"a1 IDLE\r\nDONE\r\na2 NOOP\r\na3 IDLE\r\na4 NOOP\r\n"


# -- responses


def test_a_response_is_seen_changed_and_dropped() -> None:
    def on_list(view: SessionView, response: Response) -> Change | Drop | None:
        if b"secret" in response.raw:
            return Drop()
        return Change(response.raw.replace(b"old", b"new")) if b"old" in response.raw else None

    room = Room(Interests(responses={"LIST": on_list}))
    room.server(b'* LIST () "/" a\r\n* LIST () "/" {6}\r\nsecret\r\n* LSUB () "/" old\r\n* LIST () "/" old\r\na1 OK x\r\n')
    assert room.to_client == b'* LIST () "/" a\r\n* LSUB () "/" old\r\n* LIST () "/" new\r\na1 OK x\r\n'


def test_a_fetch_item_is_changed_in_place_and_a_body_is_not_looked_into() -> None:
    seen: list[FetchItem] = []

    def size(view: SessionView, item: FetchItem) -> bytes:
        seen.append(item)
        return b"%d" % (int(item.value) + 1)

    room = Room(Interests(fetch_items={"RFC822.SIZE": size}))
    body = b"* 9 FETCH (RFC822.SIZE 7)\r\n"
    room.server(b"* 5 FETCH (UID 8 RFC822.SIZE 99 BODY[] {%d}\r\n%b)\r\n* 6 FETCH (FLAGS ())\r\n" % (len(body), body))
    assert room.to_client == b"* 5 FETCH (UID 8 RFC822.SIZE 100 BODY[] {%d}\r\n%b)\r\n* 6 FETCH (FLAGS ())\r\n" % (len(body), body)
    assert [(item.number, item.uid, item.value) for item in seen] == [(5, 8, b"99")]


def test_what_is_too_large_to_hold_passes_untouched_and_is_recorded() -> None:
    room = Room(Interests(fetch_items={"UID": lambda view, item: b"0"}), held=1000)
    raw = b"* 5 FETCH (UID 8 BODY[] {5000}\r\n" + b"x" * 5000 + b")\r\n"
    room.server(raw[:3000])
    room.server(raw[3000:])
    assert room.to_client == raw
    assert [event for event, _ in room.records()] == ["plugin.held_too_much"]


def test_the_end_of_a_command_names_the_command() -> None:
    seen: list[tuple[str, bytes]] = []
    room = Room(Interests(responses={"TAGGED": lambda view, response: seen.append((response.command, response.raw))}))
    room.client(b"a1 UID COPY 1 x\r\na2 NOOP\r\n")
    room.server(b"a2 OK done\r\na1 OK [COPYUID 1 1 1] done\r\n")
    assert seen == [("NOOP", b"a2 OK done\r\n"), ("COPY", b"a1 OK [COPYUID 1 1 1] done\r\n")]


@pytest.mark.parametrize("fault", [lambda view, thing: 1 / 0, lambda view, thing: "text"])
def test_a_plugin_that_fails_is_named_and_the_original_goes_on(fault: Callable[..., Any]) -> None:
    room = Room(Interests(commands={"NOOP": fault}, responses={"LIST": fault}, fetch_items={"UID": fault}))
    room.client(b"a1 NOOP\r\n")
    room.server(b"* LIST () NIL x\r\n* 1 FETCH (UID 1)\r\na1 OK\r\n")
    assert room.take() == (b"* LIST () NIL x\r\n* 1 FETCH (UID 1)\r\na1 OK\r\n", b"a1 NOOP\r\n")
    assert [fields["hook"] for _, fields in room.records()] == ["command NOOP", "response LIST", "fetch item UID"]


@pytest.mark.parametrize("data", [b"x\r\na9 LOGOUT", b"\n", b"{3+}\r\nabcde\r\nf"])
def test_a_plugin_cannot_smuggle_a_second_command(data: bytes) -> None:
    room = Room(Interests(commands={"DELETE": lambda view, command: Change(data)}))
    room.client(b"a1 DELETE y\r\n")
    assert room.take() == (b"", b"a1 DELETE y\r\n")
    assert room.records()[0][0] == "plugin.failed"


# -- what is withheld


def test_withheld_capabilities_appear_nowhere_and_their_commands_are_refused() -> None:
    room = Room(capabilities=[b"IMAP4rev1", b"COMPRESS=DEFLATE"])
    room.client(b"a1 CAPABILITY\r\na2 COMPRESS DEFLATE\r\n")
    room.server(b"* CAPABILITY IMAP4rev1 COMPRESS=DEFLATE IDLE X-ODD\r\na1 OK [CAPABILITY IMAP4rev1 COMPRESS=DEFLATE] done\r\n")
    assert room.take() == (
        b"a2 NO [CANNOT] This extension is not offered.\r\n* CAPABILITY IMAP4rev1 IDLE\r\na1 OK [CAPABILITY IMAP4rev1] done\r\n",
        b"a1 CAPABILITY\r\n",
    )


# -- several legs


def test_two_legs_share_one_client_and_never_talk_into_each_other() -> None:
    room = Room(owner=lambda command: 1 if b"Public" in command.arguments else MAIN)
    room.watch.add_link(1, [b"IMAP4rev1", b"LITERAL+"])
    room.client(b"a1 FETCH 1 BODY[]\r\na2 STATUS Public/x (MESSAGES)\r\n")
    assert (room.to_server[MAIN], room.to_server[1]) == (b"a1 FETCH 1 BODY[]\r\n", b"a2 STATUS Public/x (MESSAGES)\r\n")
    room.server(b"* 1 FETCH (BODY[] {6}\r\nabc")
    room.server(b"* STATUS Public/x (MESSAGES 1)\r\n* 1 FETCH (BODY[] {3}\r\nx", leg=1)
    room.server(b"def)\r\na1 OK\r\n")
    room.server(b"yz)\r\na2 OK\r\n", leg=1)
    assert room.to_client == (
        b"* 1 FETCH (BODY[] {6}\r\nabcdef)\r\n* STATUS Public/x (MESSAGES 1)\r\n* 1 FETCH (BODY[] {3}\r\nxyz)\r\na1 OK\r\na2 OK\r\n"
    )


def test_a_lost_second_leg_answers_its_commands_and_the_main_one_goes_on() -> None:
    room = Room(owner=lambda command: 1 if b"Public" in command.arguments else MAIN)
    room.watch.add_link(1, [b"IMAP4rev1"])
    room.client(b"a1 STATUS Public/x (MESSAGES)\r\n")
    room.tell(Closed(1, clean=False, detail="reset"))
    room.client(b"a2 NOOP\r\n")
    assert room.take() == (b"a1 NO [UNAVAILABLE] The mail server of this folder closed the connection.\r\n", b"a2 NOOP\r\n")


# -- ends


def end_of(room: Room) -> tuple[Reason, str]:
    close = room.others[-1]
    assert isinstance(close, Close)
    return close.reason, close.side


def test_a_server_that_goes_at_a_boundary_is_told_and_in_a_literal_it_is_not() -> None:
    room = Room()
    room.server(b"* 1 EXISTS\r\n")
    room.tell(Closed(MAIN))
    assert room.to_client.endswith(b"* BYE [UNAVAILABLE] The mail server closed the connection.\r\n")
    assert end_of(room) == (Reason.SERVER_CLOSED, "server")
    room = Room()
    room.server(b"* 1 FETCH (BODY[] {100}\r\nabc")
    room.tell(Closed(MAIN, clean=False))
    assert room.to_client == b"* 1 FETCH (BODY[] {100}\r\nabc"
    assert end_of(room) == (Reason.SERVER_RESET, "server")


def test_the_servers_own_goodbye_is_passed_on() -> None:
    room = Room()
    room.server(b"* BYE [ALERT] Maintenance\r\n")
    room.tell(Closed(MAIN))
    assert room.to_client == b"* BYE [ALERT] Maintenance\r\n"
    assert end_of(room) == (Reason.SERVER_BYE, "server")


def test_logout_ends_as_logout() -> None:
    room = Room()
    room.client(b"a1 LOGOUT\r\n")
    room.server(b"* BYE bye\r\na1 OK bye\r\n")
    room.tell(Closed(MAIN))
    assert end_of(room) == (Reason.LOGOUT, "client")


def test_a_client_that_closes_its_half_still_gets_its_answers() -> None:
    room = Room()
    room.client(b"a1 FETCH 1 BODY[]\r\n")
    room.tell(Closed(CLIENT))
    room.server(b"* 1 FETCH (BODY[] {3}\r\nabc)\r\na1 OK done\r\n")
    assert room.to_client.endswith(b"a1 OK done\r\n")
    assert end_of(room) == (Reason.CLIENT_CLOSED, "client")


def test_a_kicked_client_is_told_why() -> None:
    room = Room()
    room.tell(Kicked("Maintenance at noon"))
    assert room.to_client == b"* BYE Maintenance at noon\r\n"
    assert end_of(room) == (Reason.KICKED, "operator")


def test_a_trace_has_both_sides_and_no_password() -> None:
    room = Room(traced=True)
    room.client(b"a1 LOGIN alice hunter2\r\na2 NOOP\r\n")
    room.server(b"a1 BAD\r\na2 OK\r\n")
    traced = b"".join(other.data for other in room.others if isinstance(other, Trace))
    assert b"a2 NOOP" in traced
    assert b"a2 OK" in traced
    assert b"hunter2" not in traced
