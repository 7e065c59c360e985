"""Clients and stores that want more than they should have, as an exchange of letters.

Rule of this file: what a client may do in a store is what the rights of that name say, however it writes the name or the command; and nothing
that a store says is taken for what another server said.
"""

from __future__ import annotations

import pytest
from portico.errors import Secret
from portico.session.decisions import Close
from portico.session.events import CLIENT, BytesReceived, Closed, Kicked
from portico.session.mounts.memory import Memory
from portico.session.mounts.mount import Mount

from tests.session.imap.test_transfer import ASKED, FIRST, NO_MULTI
from tests.session.imap.tree import CAPABILITIES, Tree, begun, reached, selected


def rights(name: str) -> str:
    """Everything but what is hidden may be read, and one mailbox be posted to."""
    if name.split("/")[0] in ("Hidden", "INBOX"):
        return ""
    return {"Team/Room": "lrsip", "Notes": "lrsw", "Bin": "lrste", "Quiet": "lrwt"}.get(name, "lrs")


ACCOUNT = Mount("Public Folders", "public", user="service", password=Secret(b"x"), rights=rights)


def says(tree: Tree, words: str) -> bytes:
    """What the client is told; nobody else is told anything."""
    tree.said = []
    tree.event(BytesReceived(CLIENT, words.encode() + b"\r\n"))
    assert {whom for whom, _ in tree.said} <= {"C"}, tree.said
    return tree.to_client


# -- names


@pytest.mark.parametrize(
    "name",
    [
        '"Public Folders/Hidden"',
        '"Public Folders/Hidden/"',
        '"Public Folders//Hidden"',
        '"Public Folders/Team/../Hidden"',
        '"Public Folders/./Hidden"',
        '"Public Folders/Hidden.secret"',
        '"Public Folders/&AEg-idden"',
        '"Public Folders/H&AGk-dden/x"',
        '"Public Folders/INBOX"',
        '"Public Folders/inBox"',
        '"Public Folders/InBox/x"',
        "{21+}\r\nPublic Folders/Hidden",
        '"Public Folders/a\tb"',
        "{23+}\r\nPublic Folders/a\r\nx LOG",
    ],
)
def test_a_mailbox_that_is_hidden_has_no_other_name(name: str) -> None:
    tree = reached(ACCOUNT)
    tree.said = []
    tree.event(BytesReceived(CLIENT, f"a SELECT {name}\r\n".encode()))
    tree.said = [each for each in tree.said if each != ("C", b"+ OK\r\n")]
    assert tree.said == [("C", b"a NO [NONEXISTENT] There is no such mailbox.\r\n")]


def test_the_store_s_own_inbox_is_not_opened_where_it_is_not_shown() -> None:
    """Without an access list too: it may be anybody's personal mail."""
    assert says(reached(), 'a SELECT "Public Folders/inbox"') == b"a NO [NONEXISTENT] There is no such mailbox.\r\n"
    tree = reached(Mount("Public Folders", "public", inbox=True))
    tree.play('C: a STATUS "Public Folders/inbox" (MESSAGES)\nto 1: a STATUS "INBOX" (MESSAGES)')


@pytest.mark.parametrize("name", ["a.b", "..", "a//b", "&AEg-x"])
def test_no_mailbox_is_made_that_has_another_name_too(name: str) -> None:
    free = Mount("Public Folders", "public", user="service", password=Secret(b"x"), rights=lambda name: "lrswipkxte")
    assert says(reached(free), f'a CREATE "Public Folders/{name}"').startswith(b"a NO [CANNOT] ")
    assert says(reached(free), f'a RENAME "Public Folders/x" "Public Folders/{name}"').startswith(b"a NO [CANNOT] ")


def test_a_name_above_the_mount_does_not_climb_out_of_its_root() -> None:
    tree = begun(Mount("Public Folders", "public", root="Public"))
    tree.play('C: a STATUS "Public Folders/x" (MESSAGES)\nto 1: portico-m3 LIST "" ""\n1: * LIST () "/" ""\n1: portico-m3 OK done\n'
              'to 1: a STATUS "Public/x" (MESSAGES)\n1: a OK done\nto C: a OK done')  # fmt: skip
    assert says(tree, 'b SELECT "Public Folders/../Private"').startswith(b"b NO [NONEXISTENT] ")
    tree.play(
        """
        C: c LIST "Public Folders/" "../*"
        to 0: portico-m4 LIST "Public Folders/" "../*"
        0: portico-m4 OK all
        to 1: portico-m5 LIST "" "Public/../*"
        1: * LIST () "/" Private/x
        1: * LIST () "/" "Public/../x"
        to C: * LIST () "/" "Public Folders/../x"
        1: portico-m5 OK done
        to C: c OK all
        """
    )


def test_nil_is_the_name_of_a_mailbox() -> None:
    tree = selected("store")
    tree.play("C: a STATUS NIL (MESSAGES)\nto 0: a STATUS NIL (MESSAGES)\n0: a OK\nto C: a OK")
    assert says(tree, 'b RENAME NIL "Public Folders/x"').startswith(b"b NO [CANNOT] ")


# -- commands


@pytest.mark.parametrize("command", ["DELETE", "CREATE", "STATUS", "SUBSCRIBE"])
def test_an_atom_that_ends_like_a_literal_lets_no_second_command_through(command: str) -> None:
    """Whoever frames takes ``x{21+}`` for the announcement of a literal; the store would be sent it quoted, and what follows as a line."""
    tree = begun(Mount("P", "public"))
    tree.said = []
    tree.event(BytesReceived(CLIENT, f"a {command} P/x{{21+}}\r\nx DELETE everything  \r\n".encode()))
    assert tree.said == [("0", f"a {command} P/x{{21}}\r\n".encode())]


@pytest.mark.parametrize("command", ["SELECT", "COPY 1", "STATUS", "RENAME x"])
def test_a_name_that_is_too_long_to_be_held_is_none(command: str) -> None:
    tree = selected("store")
    assert says(tree, f"a {command} {{70000}}") == b"a NO [TOOBIG] This literal is too large.\r\n"
    tree.play("C: b CHECK\nto 1: b CHECK")


@pytest.mark.parametrize(
    "command",
    [
        "SELECT (Hidden",
        "STATUS",
        "COPY 1",
        "COPY 1{5} {3",
        "STORE 1 +X-GM-LABELS (Hidden)",
        "STORE 1 FLAGS",
        'STORE 1 +FLAGS ("\\\\Deleted")',
        "RENAME a",
    ],
)
def test_a_store_is_not_to_make_of_a_command_what_nobody_has_understood(command: str) -> None:
    assert says(selected("store", ACCOUNT), f"a {command}").startswith(b"a BAD ")


@pytest.mark.parametrize(
    "command",
    ["XLIST \"\" *", 'GETANNOTATION "Hidden" * *', "URLFETCH imap:///Hidden/;UID=1", "ESEARCH IN (mailboxes Hidden) ALL", "ID NIL",
     "SETANNOTATION Hidden (/x NIL)", "X-OTHER Hidden"],
)  # fmt: skip
def test_what_is_not_about_the_selected_mailbox_does_not_go_to_its_store(command: str) -> None:
    selected("store", ACCOUNT).play(f"C: a {command}\nto 0: a {command}")


@pytest.mark.parametrize(
    "command",
    [
        'APPEND "Public Folders/Team/Room" CATENATE (URL "/Hidden/;UID=1")',
        'APPEND "Public Folders/Team/Room" (\\Seen) catenate (TEXT {2+}\r\nab URL "/Hidden/;UID=1")',
    ],
)
def test_no_message_is_made_of_mailboxes_that_an_url_names(command: str) -> None:
    assert says(reached(ACCOUNT), f"a {command}").endswith(b"a NO [CANNOT] This extension is not offered.\r\n")


def test_nor_behind_a_message_that_is_none_of_them() -> None:
    tree = reached(ACCOUNT)
    tree.play('C: a APPEND "Public Folders/Team/Room" {2}\nto 1: a APPEND "Team.Room" {2}\n1: + go\nto C: + go\nC: ~ hi\nto 1: ~ hi')
    tree.said = []
    tree.event(BytesReceived(CLIENT, b' CATENATE (URL "/Hidden/;UID=1")\r\n'))
    assert [whom for whom, _ in tree.said] == ["C"] and tree.closed is not None


def test_a_message_in_utf_8_goes_where_it_is_to_go() -> None:
    tree = reached(ACCOUNT)
    tree.said = []
    tree.event(BytesReceived(CLIENT, b'a APPEND "Public Folders/Team/Room" UTF8 (~{8+}\r\ncatenate)\r\n'))
    assert tree.said == [("1", b'a APPEND "Team.Room" UTF8 (~{8}\r\n')]
    assert says(reached(ACCOUNT), 'b APPEND "Public Folders/Hidden" UTF8 (~{2+}\r\nhi)').startswith(b"b NO [NONEXISTENT] ")


@pytest.mark.parametrize(
    ("where", "flags", "may"),
    [
        ("Notes", "FLAGS ()", False), ("Notes", "FLAGS (\\Seen $x)", False), ("Notes", "+FLAGS (\\Seen $x)", True),
        ("Notes", "-FLAGS.SILENT (\\DELETED)", False), ("Notes", "(UNCHANGEDSINCE 5) +FLAGS \\Flagged", True),
        ("Bin", "+FLAGS.SILENT \\Deleted", True), ("Bin", "+FLAGS (\\Deleted \\Flagged)", False), ("Bin", "FLAGS (\\Deleted)", False),
    ],
)  # fmt: skip
def test_flags_are_changed_by_whoever_may_change_each_of_them(where: str, flags: str, may: bool) -> None:
    tree = reached(ACCOUNT)
    tree.play(f'C: s SELECT "Public Folders/{where}"\nto 1: portico-m4 SELECT "{where}"\n1: portico-m4 OK in\nto C: s OK in')
    tree.said = []
    tree.event(BytesReceived(CLIENT, f"a STORE 1 {flags}\r\n".encode()))
    assert tree.said == ([("1", f"a STORE 1 {flags}\r\n".encode())] if may else [("C", b"a NO [NOPERM] You have no right to do this.\r\n")])


def test_who_may_not_mark_as_read_does_not_by_reading() -> None:
    reached(ACCOUNT).play('C: s SELECT "Public Folders/Quiet"\nto 1: portico-m4 EXAMINE "Quiet"')


@pytest.mark.parametrize("command", ['SETQUOTA "Public Folders/" (STORAGE 1)', 'GETQUOTA "Public Folders/user.bob"'])
def test_quotas_of_a_service_account_are_nobody_s(command: str) -> None:
    assert says(reached(ACCOUNT), f"a {command}").startswith(b"a NO [NOPERM] ")


def test_nothing_is_told_of_what_is_hidden_by_other_responses() -> None:
    reached(ACCOUNT).play(
        """
        C: a LIST "" "Public Folders/*" RETURN (STATUS (MESSAGES))
        to 0: portico-m4 LIST "" "Public Folders/*" RETURN (STATUS (MESSAGES))
        0: * STATUS "Public Folders/mine" (MESSAGES 1)
        0: portico-m4 OK all
        to 1: portico-m5 LIST "" "*" RETURN (STATUS (MESSAGES))
        1: * LIST () "." Hidden
        1: * STATUS Hidden (MESSAGES 3)
        1: * LIST () "." Team
        to C: * LIST () "/" "Public Folders/Team"
        1: * STATUS Team (MESSAGES 4)
        to C: * STATUS "Public Folders/Team" (MESSAGES 4)
        1: portico-m5 OK all
        to C: a OK all
        """
    )


def test_what_is_hidden_cannot_be_subscribed_to_nor_made() -> None:
    mount = Mount("Public Folders", "public", user="service", password=Secret(b"x"), rights=rights, subscribed="none")
    assert says(reached(mount), 'a SUBSCRIBE "Public Folders/Hidden"').startswith(b"a NO [NONEXISTENT] ")
    assert says(reached(mount), 'a CREATE "Public Folders/Hidden"').startswith(b"a NO [NOPERM] ")
    assert says(reached(mount), 'a CREATE "Public Folders/Hidden/x"').startswith(b"a NO [NOPERM] ")


def test_patterns_are_few_and_short() -> None:
    tree = begun()
    assert says(tree, 'a LIST "" (' + " ".join(["*a*"] * 33) + ")").startswith(b"a NO [LIMIT] ")
    assert says(tree, 'b LIST "" "' + "*a" * 3000 + '"').startswith(b"b NO [LIMIT] ")


def test_a_list_of_what_is_subscribed_is_not_made_of_all_that_there_was() -> None:
    memory = Memory()
    mount = Mount("Public Folders", "public", listed="subscribed")
    tree = begun(mount, memory=memory)
    memory.learned("public", frozenset(CAPABILITIES.upper().encode().split()))
    tree.play('C: a LIST "" "*"\nto 0: portico-m3 LIST "" "*"\n0: portico-m3 OK all\nto 1: portico-m4 LIST "" ""\n1: portico-m4 OK done\n'
              'to 1: portico-m5 LSUB "" "*"\n1: portico-m5 OK done\nto 1: portico-m6 LIST "" "*"')  # fmt: skip
    tree.said = []
    tree.event(BytesReceived(1, b'* LIST () "/" Team\r\nportico-m6 OK done\r\n'))
    assert b"Team" not in tree.to_client
    tree.close(1)
    assert says_at(tree, 'b LIST "" "*"', "0", b"portico-m7 OK all\r\n").startswith(b"b NO [UNAVAILABLE] ")


def says_at(tree: Tree, words: str, whom: str, answer: bytes) -> bytes:
    """What the client is told, after somebody has answered."""
    tree.event(BytesReceived(CLIENT, words.encode() + b"\r\n"))
    tree.said = []
    tree.event(BytesReceived(int(whom), answer))
    return tree.to_client


# -- stores


@pytest.mark.parametrize(
    "words",
    ["+ go", "a OK done", "a BAD", "portico-m9 OK", "* X-NEWS 1", "* BYE", "* 5 EXISTS", "* OK hello", "* CAPABILITY IMAP4rev1 XEVIL",
     '* LIST () "/" INBOX', "garbage", "", "* 1 FETCH (BODY[] {3}\\r\\nx) )", "* PREAUTH", "* ESEARCH (TAG \"a\") ALL 1", "* NAMESPACE NIL NIL NIL"],
)  # fmt: skip
def test_nothing_of_a_store_that_nobody_asked_is_the_client_s(words: str) -> None:
    tree = selected()
    tree.play(f"C: a FETCH 1 FLAGS\nto 0: a FETCH 1 FLAGS\n1: {words}\n0: a OK done\nto C: a OK done")


def test_a_store_cannot_have_the_client_send_the_literal_that_another_server_waits_for() -> None:
    tree = selected()
    tree.play(
        """
        C: a APPEND INBOX {9}
        to 0: a APPEND INBOX {9}
        1: + go
        0: a NO [OVERQUOTA] full
        to C: a NO [OVERQUOTA] full
        C: b NOOP
        to 0: b NOOP
        """
    )


def test_a_long_answer_of_a_store_is_not_passed_on_because_it_is_long() -> None:
    tree = selected()
    tree.said = []
    tree.event(BytesReceived(1, b"* 1 FETCH (BODY[] {300000}\r\n"))
    for _ in range(30):
        tree.event(BytesReceived(1, b"a OK evil\r\n" * 909 + b"."))
    assert tree.to_client == b""


def test_a_store_whose_answer_never_ends_is_left_and_the_rest_goes_on() -> None:
    tree = begun()
    tree.play('C: a LIST "" "*"\nto 0: portico-m3 LIST "" "*"\n0: portico-m3 OK all\nto 1: portico-m4 LIST "" ""\n1: portico-m4 OK done\n'
              'to 1: portico-m5 LIST "" "*"')  # fmt: skip
    line = b'* LIST () "/" "' + b"x" * 16_000 + b'"\r\n'
    tree.said = []
    for _ in range(10_000):
        tree.said = []
        tree.event(BytesReceived(1, line))
        if tree.events("mount.failed"):
            break
    assert tree.said[0] == ("1", b"<disconnect>\r\n") and tree.to_client.startswith(b"a NO [UNAVAILABLE] ")
    assert tree.events("mount.failed")[0]["reason"] == "protocol"
    tree.play("C: b NOOP\nto 0: b NOOP")


def test_many_short_lines_are_too_much_as_well() -> None:
    tree = begun()
    tree.play('C: a LIST "" "*"\nto 0: portico-m3 LIST "" "*"\n0: portico-m3 OK all\nto 1: portico-m4 LIST "" ""\n1: portico-m4 OK done\n'
              'to 1: portico-m5 LIST "" "*"')  # fmt: skip
    lines = 0
    while not tree.events("mount.failed"):
        tree.said = []
        tree.event(BytesReceived(1, b'* LIST () "/" a\r\n' * 4000))
        lines += 4000
    assert tree.to_client.startswith(b"a NO [UNAVAILABLE] ") and lines < 300_000


def test_a_store_whose_last_line_never_ends_is_left_too() -> None:
    tree = reached()
    tree.play('C: a STATUS "Public Folders/x" (MESSAGES)\nto 1: a STATUS "x" (MESSAGES)')
    tree.said = []
    for _ in range(100):
        tree.event(BytesReceived(1, (b"a OK " if not tree.said else b"") + b"x" * 16_000))
    assert tree.to_client.startswith(b"a NO [UNAVAILABLE] ") and tree.to_client.count(b"\r\n") == 1


def test_a_capability_list_of_a_store_says_nothing_of_the_session() -> None:
    reached().play(
        """
        C: s SELECT "Public Folders/a"
        to 1: portico-m4 SELECT "a"
        1: * OK [CAPABILITY IMAP4rev1 XEVIL] more
        to C: * OK more
        1: portico-m4 OK [CAPABILITY IMAP4rev1 XEVIL] in
        to C: s OK in
        """
    )


@pytest.mark.parametrize(
    ("attributes", "shown"),
    [
        ('FLAGS ({6}\\r\\n\\r\\nx A ) INTERNALDATE "01-Jan-2026 10:00:00 +0100"', '(x A) "01-Jan-2026 10:00:00 +0100"'),
        ('FLAGS ("a" ~ {5}) INTERNALDATE "01-Jan-2026 10:00:00 +0100"', '(~) "01-Jan-2026 10:00:00 +0100"'),
    ],
)
def test_flags_that_are_none_do_not_go_into_a_command_for_another_server(attributes: str, shown: str) -> None:
    tree = selected("store")
    tree.play(f"C: c COPY 1 INBOX\nto 1: portico-m5 FETCH 1 (UID FLAGS INTERNALDATE)\n1: * 1 FETCH (UID 7 {attributes})")
    tree.play(
        f"""
        1: portico-m5 OK done
        to 1: portico-t1 UID FETCH 7 (UID BODY.PEEK[])
        1: ~ * 1 FETCH (UID 7 BODY[] {{2}}\\r\\nhi)\\r\\n
        to 0: ~ portico-t2 APPEND "INBOX" {shown} {{2}}\\r\\n
        """
    )


@pytest.mark.parametrize(
    "date", ["{24}\\r\\nx\\r\\na DELETE INBOX\\r\\nb NO", '"1-Jan-2026 {5}"', "(1 2)", '"01-Jan-2026 10:00:00 +0100" {2}\\r\\nab']
)
def test_a_date_that_is_none_does_not_go_into_a_command_for_another_server(date: str) -> None:
    tree = selected("store")
    tree.play("C: c COPY 1 INBOX\nto 1: portico-m5 FETCH 1 (UID FLAGS INTERNALDATE)")
    tree.said = []
    letter = f"* 1 FETCH (UID 7 FLAGS () INTERNALDATE {date})\\r\\nportico-m5 OK done\\r\\n".replace("\\r\\n", "\r\n")
    tree.event(BytesReceived(1, letter.encode()))
    assert {whom for whom, _ in tree.said} == {"C"}
    assert b"\r\nc NO" in b"\r\n" + tree.to_client or b"\r\nc OK Nothing" in tree.to_client


def test_a_list_line_does_not_take_the_next_response_for_the_rest_of_it() -> None:
    tree = reached()
    tree.play(
        'C: a LIST "" "Public Folders/%"\nto 0: portico-m4 LIST "" "Public Folders/%"\n0: portico-m4 OK all\nto 1: portico-m5 LIST "" "%"'
    )
    tree.said = []
    tree.event(BytesReceived(1, b'* LIST () "." x ("X" {4}\r\n\r\n\r\n)\r\n* LIST () "." y {4}\r\n\r\n\r\n\r\nportico-m5 OK done\r\n'))
    said = tree.to_client
    assert said.endswith(b'y" {4}\r\n\r\n\r\n\r\na OK all\r\n')


@pytest.mark.parametrize("multi", [True, False])
def test_a_store_that_has_stored_what_it_was_not_given_is_not_believed(multi: bool) -> None:
    tree = selected(store=CAPABILITIES if multi else NO_MULTI)
    tree.play(ASKED)
    tree.event(BytesReceived(0, b"* 1 FETCH (UID 7 BODY[] {5}\r\nhel"))
    tree.event(BytesReceived(1, b"portico-t2 OK [APPENDUID 99 21] all of it\r\n"))
    tree.said = []
    tree.event(BytesReceived(0, b"lo)\r\nportico-t1 OK done\r\n"))
    assert tree.to_client.startswith(b"c NO [UNAVAILABLE] ")


def test_a_move_removes_nothing_where_the_target_names_fewer_messages_than_it_was_given() -> None:
    tree = selected(main=CAPABILITIES.replace(" ACL", ""))
    tree.play(ASKED.replace("COPY", "MOVE") + FIRST)
    tree.said = []
    tree.event(BytesReceived(0, b"* 3 FETCH (UID 9 BODY[] {5}\r\nworld)\r\nportico-t3 OK done\r\n"))
    tree.event(BytesReceived(1, b"+ go\r\n"))
    tree.said = []
    tree.event(BytesReceived(1, b"portico-t2 OK [APPENDUID 99 21] done\r\n"))
    assert [whom for whom, _ in tree.said] == ["C"] and tree.to_client.startswith(b"c NO [UNAVAILABLE] ")
    assert tree.events("transfer.doubled")[0]["messages"] == 2


# -- the end of a session in the middle of it


def removing() -> Tree:
    """A MOVE out of the store that has come to its last step."""
    tree = selected("store", store=CAPABILITIES.replace(" ACL", ""))
    tree.play(
        """
        C: m MOVE 1 INBOX
        to 1: portico-m5 FETCH 1 (UID FLAGS INTERNALDATE)
        1: * 1 FETCH (UID 4 FLAGS () INTERNALDATE "01-Jan-2026 10:00:00 +0100")
        1: portico-m5 OK done
        to 1: portico-t1 UID FETCH 4 (UID BODY.PEEK[])
        1: ~ * 1 FETCH (UID 4 BODY[] {2}\\r\\nhi)\\r\\nportico-t1 OK done\\r\\n
        to 0: ~ portico-t2 APPEND "INBOX" () "01-Jan-2026 10:00:00 +0100" {2}\\r\\n
        0: + go
        to 0: ~ hi\\r\\n
        0: portico-t2 OK [APPENDUID 99 21] done
        to C: * OK [COPYUID 99 4 21] Moved.
        to 1: portico-m6 UID STORE 4 +FLAGS.SILENT (\\Deleted)
        """
    )
    return tree


def test_a_store_that_is_lost_before_it_has_removed_what_was_moved_is_logged_and_ends_in_bye() -> None:
    tree = removing()
    tree.close(1)
    assert tree.to_client.startswith(b"m NO [UNAVAILABLE] Copied, but not removed") and b"* BYE [UNAVAILABLE] " in tree.to_client
    assert isinstance(tree.closed, Close)
    assert [each["messages"] for each in tree.events("transfer.doubled")] == [1]


@pytest.mark.parametrize("event", [Kicked("now"), Closed(CLIENT, clean=False), Closed(0)])
def test_a_session_that_ends_before_it_has_removed_what_was_moved_is_logged(event: Kicked | Closed) -> None:
    tree = removing()
    tree.event(event)
    assert tree.closed is not None
    assert [each["messages"] for each in tree.events("transfer.doubled")] == [1]


def test_a_session_that_ends_in_the_middle_of_one_append_has_stored_nothing() -> None:
    tree = selected()
    tree.play(ASKED + FIRST)
    tree.event(Kicked("now"))
    assert tree.closed is not None and tree.events("transfer.doubled") == []


def test_without_multiappend_what_was_stored_before_the_session_ended_is_logged() -> None:
    tree = selected(store=NO_MULTI)
    tree.play(ASKED)
    tree.event(BytesReceived(0, b"* 1 FETCH (UID 7 BODY[] {5}\r\nhello)\r\nportico-t1 OK done\r\n"))
    tree.event(BytesReceived(1, b"+ go\r\n"))
    tree.event(BytesReceived(1, b"portico-t2 OK [APPENDUID 99 21] done\r\n"))
    tree.event(Kicked("now"))
    assert [each["messages"] for each in tree.events("transfer.doubled")] == [1]


def lost_source(main: str, first: str) -> Tree:
    """A COPY of two messages out of the store, up to where the first of them is at the main server."""
    tree = selected("store", main=main)
    tree.play(
        f"""
        C: c UID COPY 7:9 INBOX
        to 1: portico-m5 UID FETCH 7:9 (UID FLAGS INTERNALDATE)
        1: * 1 FETCH (UID 7 FLAGS () INTERNALDATE "01-Jan-2026 10:00:00 +0100")
        1: * 3 FETCH (UID 9 FLAGS () INTERNALDATE "02-Jan-2026 10:00:00 +0100")
        1: portico-m5 OK done
        to 1: portico-t1 UID FETCH 7 (UID BODY.PEEK[])
        1: ~ * 1 FETCH (UID 7 BODY[] {{5}}\\r\\nhello)\\r\\nportico-t1 OK done\\r\\n
        to 0: ~ portico-t2 APPEND "INBOX" () "01-Jan-2026 10:00:00 +0100" {{5}}\\r\\n
        {first}
        """
    )
    return tree


def test_a_source_that_is_lost_between_two_messages_leaves_nothing_and_ends_in_bye() -> None:
    tree = lost_source(
        NO_MULTI, "0: + go\nto 0: ~ hello\\r\\n\n0: portico-t2 OK [APPENDUID 99 21] done\nto 1: portico-t3 UID FETCH 9 (UID BODY.PEEK[])"
    )
    tree.close(1)
    assert tree.said == [("0", b'portico-m6 SELECT "INBOX"\r\n')]
    tree.play(
        """
        0: * OK [UIDVALIDITY 99] x
        0: portico-m6 OK in
        to 0: portico-m7 UID STORE 21 +FLAGS.SILENT (\\Deleted)
        0: portico-m7 OK
        to 0: portico-m8 UID EXPUNGE 21
        0: portico-m8 OK
        to 0: portico-m9 UNSELECT
        """
    )
    tree.said = []
    tree.event(BytesReceived(0, b"portico-m9 OK\r\n"))
    assert tree.to_client.startswith(b"c NO [UNAVAILABLE] ") and b"\r\n* BYE [UNAVAILABLE] " in tree.to_client and tree.closed is not None
    assert tree.events("transfer.doubled") == []


def test_what_was_stored_is_not_removed_from_another_mailbox_of_that_name() -> None:
    tree = lost_source(
        NO_MULTI, "0: + go\nto 0: ~ hello\\r\\n\n0: portico-t2 OK [APPENDUID 99 21] done\nto 1: portico-t3 UID FETCH 9 (UID BODY.PEEK[])"
    )
    tree.close(1)
    tree.play("0: * OK [UIDVALIDITY 100] x\n0: portico-m6 OK in\nto 0: portico-m7 UNSELECT")
    tree.event(BytesReceived(0, b"portico-m7 OK\r\n"))
    assert [each["messages"] for each in tree.events("transfer.doubled")] == [1]


def test_a_source_that_is_lost_within_one_append_has_it_refused() -> None:
    tree = lost_source(CAPABILITIES, "0: + go\nto 0: ~ hello\nto 1: portico-t3 UID FETCH 9 (UID BODY.PEEK[])")
    tree.close(1)
    assert tree.said == [("0", b" NIL\r\n")]
    tree.event(BytesReceived(0, b"portico-t2 BAD what\r\n"))
    assert tree.to_client.startswith(b"c NO [UNAVAILABLE] ") and tree.closed is not None
    assert tree.events("transfer.doubled") == []


@pytest.mark.parametrize(("main", "doubled"), [(CAPABILITIES, 0), (NO_MULTI, 1)])
def test_a_source_that_is_lost_within_a_message_leaves_the_target_with_half_of_it_and_no_command(main: str, doubled: int) -> None:
    multi = main == CAPABILITIES
    tree = lost_source(
        main,
        "0: + go\nto 0: ~ hello"
        + ("" if multi else "\\r\\n\n0: portico-t2 OK [APPENDUID 99 21]")
        + "\nto 1: portico-t3 UID FETCH 9 (UID BODY.PEEK[])",
    )
    tree.event(BytesReceived(1, b"* 3 FETCH (UID 9 BODY[] {5}\r\nwo"))
    tree.event(BytesReceived(0, b"+ go\r\n"))
    tree.close(1)
    assert {whom for whom, _ in tree.said} == {"C"} and tree.closed is not None
    assert len(tree.events("transfer.doubled")) == doubled


def test_a_store_that_is_lost_while_it_opens_a_mailbox_is_told_by_no() -> None:
    tree = selected()
    tree.play('C: b SELECT "Public Folders/x"\nto 0: portico-m4 UNSELECT\n0: portico-m4 OK\n'
              'to C: * OK [CLOSED] Previous mailbox is closed.\nto 1: portico-m5 SELECT "x"')  # fmt: skip
    tree.close(1)
    assert tree.to_client == b"b NO [UNAVAILABLE] The server of this folder closed the connection.\r\n" and tree.closed is None
    tree.play("C: c NOOP\nto 0: c NOOP")


def test_a_client_that_goes_elsewhere_does_not_miss_the_store_that_it_leaves() -> None:
    tree = selected("store")
    tree.play("C: b SELECT INBOX\nto 1: portico-m5 UNSELECT")
    tree.close(1)
    assert tree.said == [("C", b"* OK [CLOSED] Previous mailbox is closed.\r\n"), ("0", b"portico-m6 SELECT INBOX\r\n")]
    tree.play("0: portico-m6 OK in\nto C: b OK in\nC: c NOOP\nto 0: c NOOP")


def test_a_store_that_waits_for_a_slow_client_has_time() -> None:
    tree = reached()
    tree.play('C: a APPEND "Public Folders/x" {5}\nto 1: a APPEND "x" {5}\n1: + go\nto C: + go')
    tree.phases.pop(1)
    tree.play("C: ~ he\nto 1: ~ he")
    assert tree.phases[1] == "store", "its clock begins anew"


def test_a_source_that_is_not_read_is_not_late() -> None:
    tree = selected("store")
    tree.play(
        'C: c COPY 1 INBOX\nto 1: portico-m5 FETCH 1 (UID FLAGS INTERNALDATE)\n1: * 1 FETCH (UID 4 FLAGS () INTERNALDATE "01-Jan-2026 10:00:00 +0100")'
    )
    tree.play("1: portico-m5 OK done\nto 1: portico-t1 UID FETCH 4 (UID BODY.PEEK[])")
    assert tree.phases[1] == "store"
    tree.event(BytesReceived(1, b"* 1 FETCH (UID 4 BODY[] {2}\r\nhi)\r\nportico-t1 OK done\r\n"))
    assert tree.phases[1] == "", "the main server has not said go yet"
