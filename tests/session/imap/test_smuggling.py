"""What is said to a watched session is what the server hears: nothing gets past those who are asked, nothing falls out of step.

What a server does here, Dovecot 2.3 does: it looks no further than the fault that it finds, and takes the octets of a literal
that comes unasked behind it for commands.
"""

from __future__ import annotations

import pytest
from portico.session.decisions import Close, HoldClient, ReadClient, Trace
from portico.session.events import Closed
from portico.session.interests import Change, Command, Drop, Interests, Refuse, Response

from tests.session.imap.test_watch import Room

NO_DELETE = Interests(commands={"DELETE": lambda view, command: Refuse("Not here.")})
INNER = b"a2 DELETE Trash\r\n"
UNASKED = b"{%d+}\r\n" % len(INNER) + INNER
ASKED = b"{%d}\r\n" % len(INNER)


@pytest.mark.parametrize("head", [b"a1 NOOP ", b"a1 FROB ", b"a1 LIST ) ", b"a1 CREATE ~", b"a1 SELECT ) ", b"a1 APPEND ) "])
def test_a_command_cannot_hide_in_a_literal_that_the_server_does_not_take_for_one(head: bytes) -> None:
    room = Room(NO_DELETE)
    room.client(head + UNASKED + b"\r\na3 NOOP\r\n")
    server = room.take()[1]
    room.server(b"a1 BAD no\r\n")
    client, more = room.take()
    assert INNER not in server + more
    assert more == b"a3 NOOP\r\n" or b"a2 NO Not here.\r\n" in client


@pytest.mark.parametrize(
    "line", [b'a1 RENAME x"y {17+}', b"a1 CREATE {17-}", b"a1 CREATE {}", b"a1 CREATE {x}", b"a1 CREATE x \ra2 DELETE x", b"a1 CREATE x\0"]
)
def test_what_may_or_may_not_be_a_literal_does_not_reach_the_server(line: bytes) -> None:
    room = Room(NO_DELETE)
    room.client(line + b"\r\na3 NOOP\r\n")
    assert room.take() == (b"a1 BAD Invalid command\r\n", b"a3 NOOP\r\n")


def test_a_client_that_does_not_wait_for_the_servers_word_is_heard_as_the_server_hears_it() -> None:
    room = Room(NO_DELETE)
    room.client(b"a1 NOOP " + ASKED + INNER + b"a3 NOOP\r\n")
    assert room.take() == (b"", b"a1 NOOP " + ASKED)
    assert isinstance(room.others[-1], HoldClient)
    room.server(b"a1 OK done\r\n")
    assert room.take() == (b"a1 OK done\r\na2 NO Not here.\r\n", b"a3 NOOP\r\n")
    assert isinstance(room.others[-1], ReadClient)


def test_a_literal_that_the_server_asks_for_is_one_and_the_client_hears_nothing_of_it() -> None:
    room = Room(NO_DELETE)
    room.client(b"a1 SEARCH SUBJECT " + UNASKED + b" TEXT {3+}\r\nabc\r\na3 NOOP\r\n")
    assert room.take() == (b"", b"a1 SEARCH SUBJECT " + ASKED)
    room.server(b"+ OK\r\n")
    assert room.take() == (b"", INNER + b" TEXT {3}\r\n")
    room.server(b"+ OK\r\n")
    assert room.take() == (b"", b"abc\r\na3 NOOP\r\n")


def test_what_follows_idle_before_the_server_idles_is_a_command_if_it_does_not() -> None:
    room = Room(NO_DELETE)
    room.client(b"a1 IDLE now\r\n" + INNER)
    assert room.take() == (b"", b"a1 IDLE now\r\n")
    room.server(b"a1 BAD no such thing\r\n")
    assert room.take() == (b"a1 BAD no such thing\r\na2 NO Not here.\r\n", b"")
    room.client(b"a3 IDLE\r\nwhat\r\n")
    room.server(b"+ idling\r\n")
    assert room.take() == (b"+ idling\r\n", b"a3 IDLE\r\nwhat\r\n")  # the server's to judge


def test_a_literal_behind_idle_goes_nowhere() -> None:
    room = Room(NO_DELETE)
    room.client(b"a1 IDLE " + UNASKED + b"\r\na3 NOOP\r\n")
    assert room.take() == (b"a1 BAD IDLE takes no arguments\r\n", b"a3 NOOP\r\n")


def test_the_word_to_idle_is_not_taken_for_the_word_to_a_literal() -> None:
    room = Room(NO_DELETE)
    room.client(b"a1 IDLE\r\nDONE\r\na2 CREATE {3+}\r\nabc\r\n")
    assert room.take() == (b"", b"a1 IDLE\r\nDONE\r\na2 CREATE {3}\r\n")
    room.server(b"+ idling\r\na1 OK done\r\n")
    assert room.take() == (b"+ idling\r\na1 OK done\r\n", b"")
    room.server(b"+ go\r\n")
    assert room.take() == (b"", b"abc\r\n")


def test_a_message_is_not_read_as_commands_when_the_server_refuses_what_it_has_asked_for() -> None:
    for room in (Room(), Room(NO_DELETE)):
        room.client(b"a1 APPEND x " + ASKED)
        room.server(b"+ go\r\n")
        room.server(b"a1 NO [OVERQUOTA] full\r\n")  # before an octet of the message has come
        room.take()
        room.client(INNER + b"\r\na3 NOOP\r\n")
        assert room.take() == (b"", INNER + b"\r\na3 NOOP\r\n")


def test_a_message_whose_head_never_reached_the_server_goes_nowhere() -> None:
    room = Room(Interests(commands={"APPEND": lambda view, command: None}), [b"IMAP4rev1"])
    room.client(b"a1 APPEND {1+}\r\nx " + UNASKED + b"\r\na3 NOOP\r\n")
    assert room.take()[1] == b"a1 APPEND {1}\r\n"
    room.server(b"a1 NO no such mailbox\r\n")
    assert room.take() == (b"a1 NO no such mailbox\r\n", b"a3 NOOP\r\n")


@pytest.mark.parametrize("first", [b"((", b"a1"])
def test_nobody_waits_for_a_literal_of_a_command_that_was_refused(first: bytes) -> None:
    room = Room()
    room.client(b"a1 NOOP\r\n")
    room.client(first + b" DELETE {3+}\r\nabc {5}\r\n")  # it has BAD: {5} is not asked for, and not sent
    room.client(b"a2 NOOP\r\n")
    assert room.take()[1] == b"a1 NOOP\r\na2 NOOP\r\n"


def test_nobody_waits_for_a_second_literal_of_a_command_that_the_server_has_answered() -> None:
    room = Room(NO_DELETE)
    room.client(b"a1 APPEND x {3+}\r\n")
    room.server(b"+ go\r\n")
    room.server(b"a1 NO full\r\n")
    room.client(b"abc {5}\r\n")
    room.client(b"a2 NOOP\r\n")
    assert room.take()[1] == b"a1 APPEND x {3}\r\nabc \r\na2 NOOP\r\n"


@pytest.mark.parametrize("literal", [b"{70000}\r\n", b"{70000+}\r\n" + b"x" * 70000 + b"\r\n"])
def test_a_withheld_command_with_a_large_literal_is_refused_and_the_session_goes_on(literal: bytes) -> None:
    room = Room()
    room.client(b"a1 COMPRESS " + literal)
    room.client(b"a2 NOOP\r\n")
    assert room.take() == (b"a1 NO [CANNOT] This extension is not offered.\r\n", b"a2 NOOP\r\n")


def test_leading_zeros_do_not_hide_a_literal() -> None:
    room = Room(NO_DELETE)
    room.client(b"a1 CREATE {" + b"0" * 5000 + b"3+}\r\nabc\r\n")
    room.server(b"+ go\r\n")
    assert room.take()[1].endswith(b"3}\r\nabc\r\n")
    room.client(b"a2 CREATE {" + b"9" * 5000 + b"}\r\na3 NOOP\r\n")
    assert room.take() == (b"a2 BAD [TOOBIG] Literal too large\r\n", b"a3 NOOP\r\n")


def test_nobody_is_signed_in_twice_behind_a_server_that_can_unauthenticate() -> None:
    room = Room(capabilities=[b"IMAP4rev1", b"LITERAL+", b"UNAUTHENTICATE"])
    room.client(b"a1 NOOP {19+}\r\na2 UNAUTHENTICATE\r\n\r\n")
    room.server(b"a1 OK done\r\n")
    room.client(b"a3 UNAUTHENTICATE\r\n")
    client, server = room.take()
    assert b"UNAUTHENTICATE" not in server
    assert client.endswith(b"a3 NO [CANNOT] This extension is not offered.\r\n")


def test_the_mailbox_of_a_replace_is_seen_even_as_a_literal() -> None:
    seen: list[Command] = []
    room = Room(Interests(commands={"REPLACE": lambda view, command: seen.append(command)}))
    room.client(b"a1 UID REPLACE 5 {6+}\r\nDrafts {3+}\r\nabc\r\n")
    assert [(command.arguments, command.head_only) for command in seen] == [(b"5 {6+}\r\nDrafts {3+}", True)]


@pytest.mark.parametrize("data", [b"x {5+}", b"{3+}\r\nab", b"{3}", b"x\r\n", b"{99999999999}\r\nx"])
def test_a_changed_command_is_one_command_or_the_original_goes_on(data: bytes) -> None:
    room = Room(Interests(commands={"RENAME": lambda view, command: Change(data)}))
    room.client(b"a1 RENAME x y\r\na2 NOOP\r\n")
    assert room.take() == (b"", b"a1 RENAME x y\r\na2 NOOP\r\n")
    assert room.records()[0][0] == "plugin.failed"


@pytest.mark.parametrize(
    "data", [b"* LIST () NIL x", b"* LIST () NIL {3}\r\nx\r\n", b"* LIST () NIL {3}\r\n", b"", b"* LIST () NIL {1}\r\nx"]
)
def test_a_changed_response_is_whole_or_the_original_goes_on(data: bytes) -> None:
    def changed(view: object, response: Response) -> Change | Drop:
        return Change(data)

    room = Room(Interests(responses={"LIST": changed}))
    room.server(b"* LIST () NIL y\r\n")
    assert room.take() == (b"* LIST () NIL y\r\n", b"")
    assert room.records()[0][0] == "plugin.failed"


def test_a_plugin_cannot_say_more_than_one_line_in_its_text() -> None:
    room = Room(Interests(commands={"DELETE": lambda view, command: Refuse("no\r\na9 OK forged", "X\r\nY")}))
    room.client(b"a1 DELETE x\r\n")
    assert room.take() == (b"a1 NO [X Y] no a9 OK forged\r\n", b"")


def test_a_bad_select_leaves_the_mailbox_selected_and_a_failed_one_does_not() -> None:
    seen: list[bytes | None] = []
    room = Room(Interests(commands={"NOOP": lambda view, command: seen.append(command.mailbox)}))
    for answer in (b"OK", b"BAD", b"NO"):
        room.client(b"a1 SELECT INBOX\r\n")
        room.server(b"a1 " + answer + b" x\r\n")
        room.client(b"a2 NOOP\r\n")
        room.server(b"a2 OK\r\n")
    assert seen == [b"INBOX", b"INBOX", None]


def test_a_client_that_asks_and_asks_while_a_literal_is_open_is_not_read_for_ever() -> None:
    room = Room(held=1000)
    room.server(b"* 1 FETCH (BODY[] {6}\r\nabc")
    for _ in range(200):
        room.client(b"((((\r\n" * 10)
    assert isinstance(room.others[-1], HoldClient)
    assert room.watch.outlet.waiting < 1100
    room.server(b"def)\r\n")
    assert isinstance(room.others[-1], ReadClient)
    assert room.to_client.count(b"* BAD ") == 2000


def test_a_capability_list_with_nothing_withheld_passes_as_it_came() -> None:
    room = Room()
    room.server(b"* capability  imap4rev1 IDLE \r\n")
    assert room.take() == (b"* capability  imap4rev1 IDLE \r\n", b"")


def test_an_item_that_is_no_number_is_no_fault_of_ours() -> None:
    room = Room(Interests(fetch_items={"UID": lambda view, item: None}))
    raw = b"* 1 FETCH (UID " + b"9" * 5000 + b")\r\n"
    room.server(raw)
    assert room.take() == (raw, b"")


def test_an_answer_too_long_to_be_held_ends_its_command_all_the_same() -> None:
    room = Room(Interests(responses={"TAGGED": lambda view, response: None}), held=1000)
    room.client(b"a1 UID COPY 1:9 x\r\n")
    for piece in (b"a1 OK [COPYUID 1 ", *[b"1,3," * 50] * 20, b"5] done\r\n"):
        room.server(piece)
    room.client(b"a1 NOOP\r\n")
    assert room.take()[1] == b"a1 UID COPY 1:9 x\r\na1 NOOP\r\n"
    assert room.records() == [("plugin.held_too_much", {"octets": 1000, "what": "TAGGED"})]


def test_a_command_too_large_to_be_gathered_is_refused_by_its_tag() -> None:
    room = Room(held=1000)
    room.client(b"a1 SELECT {2000}\r\n")
    room.client(b"a2 NOOP\r\n")
    assert room.take() == (b"a1 BAD [TOOBIG] Command too large\r\n", b"a2 NOOP\r\n")


def test_a_changed_login_is_not_in_the_trace() -> None:
    room = Room(Interests(commands={"LOGIN": lambda view, command: Change(b"bob hunter2")}), traced=True)
    room.client(b"a1 LOGIN alice {7+}\r\nhunter2\r\n")
    assert b"hunter2" not in b"".join(other.data for other in room.others if isinstance(other, Trace))


def test_a_lost_second_leg_does_not_leave_its_literal_open() -> None:
    room = Room(owner=lambda command: 1 if b"Public" in command.arguments else 0)
    room.watch.add_link(1, [b"IMAP4rev1", b"LITERAL+"])
    room.client(b"a1 APPEND Public/x {5+}\r\n")
    room.tell(Closed(1, clean=False))
    room.client(b"hello\r\na2 NOOP\r\n")
    assert room.take()[1] == b"a2 NOOP\r\n"
    assert not any(isinstance(other, Close) for other in room.others)
