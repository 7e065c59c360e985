"""Public folders as a client sees them: one tree, in which only the names tell whose a folder is.

Rule of this file: what a folder answers through Portico is what it answers at its own server, but for its name. Copies between the servers are
in test_public_folder_transfers.py, faults in test_public_folder_faults.py, mail programs in test_public_folder_clients.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from imapclient import IMAPClient
from portico.demo.dovecot import Dovecot

from tests.live.clients import Account, imapclient_connect
from tests.live.dialogue import Dialogue
from tests.live.mailboxes import names
from tests.live.people import PASSWORD, People
from tests.live.stores import LETTERS, MASTER, MOUNTED, OWNER, STAFF, Public, settled

pytestmark = pytest.mark.live

SIGN_INS = ["user", "master", "account"]


@pytest.fixture
def user(reader: str) -> str:
    return reader


# -- the same suite on a folder of one's own and on a public one


def append(box: str, number: int, flags: str = "") -> bytes:
    letter = LETTERS[number]
    return f'APPEND "{box}" ({flags}) "0{number + 1}-May-2026 09:00:00 +0200" {{{len(letter)}+}}\r\n'.encode() + letter


def suite(box: str) -> Iterator[bytes]:
    """What clients do with a folder, and with one below it; each command without its tag."""
    below = f"{box}/below"
    yield f'CREATE "{box}"'.encode()
    yield f'CREATE "{box}"'.encode()
    yield f'CREATE "{below}"'.encode()
    yield f'LIST "" "{box}*"'.encode()
    yield f'LIST "{box}/" %'.encode()
    yield f'LIST () "" ("{box}" "{box}/%") RETURN (CHILDREN SUBSCRIBED STATUS (MESSAGES UIDNEXT))'.encode()
    yield f'SUBSCRIBE "{below}"'.encode()
    yield f'LSUB "" "{box}*"'.encode()
    yield f'LIST (SUBSCRIBED) "" "{box}*"'.encode()
    for number, flags in enumerate(["\\Seen $Work", "", "\\Flagged", "\\Answered"]):
        yield append(box, number, flags)
    yield append(f"{box}/nowhere", 0)
    yield f'STATUS "{box}" (MESSAGES UIDNEXT UNSEEN)'.encode()
    yield f'STATUS "{box}/nowhere" (MESSAGES)'.encode()
    yield f'SELECT "{box}/nowhere"'.encode()
    yield f'SELECT "{box}"'.encode()
    yield b"FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)"
    yield b"FETCH 1:* BODY.PEEK[]"
    yield b"UID FETCH 2 (BODY[HEADER.FIELDS (SUBJECT)] BODY[TEXT]<3.9>)"
    yield b"STORE 2 +FLAGS (\\Flagged $Later)"
    yield b"UID STORE 3,4 -FLAGS.SILENT (\\Answered)"
    yield b"FETCH 1:* FLAGS"
    yield b"SEARCH FLAGGED"
    yield b"UID SEARCH RETURN (MIN MAX COUNT) ALL"
    yield b'SEARCH CHARSET UTF-8 SUBJECT "Letter 2"'
    yield b"SEARCH SUBJECT {8+}\r\nLetter 2"
    yield b"SORT (REVERSE DATE) US-ASCII ALL"
    yield b"UID THREAD REFERENCES US-ASCII ALL"
    yield f'COPY 1:2 "{below}"'.encode()
    yield f'UID COPY 3 "{below}"'.encode()
    yield f'COPY 1 "{box}/nowhere"'.encode()
    yield f'MOVE 4 "{below}"'.encode()
    yield f'STATUS "{below}" (MESSAGES UIDNEXT)'.encode()
    yield b"STORE 1 +FLAGS.SILENT (\\Deleted)"
    yield b"UID EXPUNGE 2:*"
    yield b"EXPUNGE"
    yield b"STORE 1 +FLAGS.SILENT (\\Deleted)"
    yield b"UNSELECT"
    yield b"FETCH 1 FLAGS"
    yield f'EXAMINE "{box}"'.encode()
    yield b"STORE 1 +FLAGS (\\Seen)"
    yield b"CLOSE"
    yield f'SELECT "{box}" (CONDSTORE)'.encode()
    yield b"CHECK"
    yield b"CLOSE"
    yield f'STATUS "{box}" (MESSAGES RECENT)'.encode()
    yield f'MYRIGHTS "{box}"'.encode()
    yield f'LISTRIGHTS "{box}" bob'.encode()
    yield f'SETACL "{box}" bob lr'.encode()
    yield f'GETACL "{box}"'.encode()
    yield f'DELETEACL "{box}" bob'.encode()
    yield f'GETACL "{box}"'.encode()
    yield f'GETQUOTAROOT "{box}"'.encode()
    yield f'SETMETADATA "{box}" (/private/comment "mine")'.encode()
    yield f'GETMETADATA "{box}" /private/comment'.encode()
    yield f'RENAME "{below}" "{box}/renamed"'.encode()
    yield f'LIST "" "{box}/*"'.encode()
    yield f'UNSUBSCRIBE "{below}"'.encode()
    yield f'LSUB "" "{box}*"'.encode()
    yield f'DELETE "{box}/renamed"'.encode()
    yield f'DELETE "{box}"'.encode()
    yield f'LIST "" "{box}*"'.encode()


def neutral(answer: bytes, *boxes: str) -> list[bytes]:
    """An answer without names, times and numbers that the server gave by chance. Untagged answers may come in any order."""
    for box in boxes:
        answer = re.sub(rb'"?' + re.escape(box.encode()) + rb'(/[a-z]+)?"?', rb"<box>\1", answer)
    answer = re.sub(rb" \(\d+\.\d+ \+ .*? secs\)", b"", answer)
    answer = re.sub(rb"\[(UIDVALIDITY|COPYUID|APPENDUID) \d+", rb"[\1 V", answer)
    return sorted(answer.splitlines())


def played(client: Dialogue, box: str, *also: str) -> list[tuple[bytes, list[bytes]]]:
    said = []
    for number, command in enumerate(suite(box)):
        answer = client.command(b"t%d %b" % (number, command))
        said.append((re.sub(rb'"?' + re.escape(box.encode()) + rb'(/[a-z]+)?"?', rb"<box>\1", command)[:60], neutral(answer, box, *also)))
    return said


@pytest.mark.parametrize("whose", ["own", "public"])
def test_a_folder_answers_through_portico_as_at_its_own_server(
    whose: str, public: Public, dovecot: Dovecot, public_store: Dovecot, user: str
) -> None:
    holder, there, here = (dovecot, "Straight", "Through") if whose == "own" else (public_store, "Public/Open/s", "Public Folders/Open/t")
    with Dialogue(holder.ports.imap) as client:
        client.line()
        client.command(f"in LOGIN {user} {PASSWORD}".encode())
        straight = played(client, there)
    with public.client("user", user) as client:
        through = played(client, here, "Public/Open/t")
    for expected, found in zip(straight, through, strict=True):
        assert found == expected
    assert sum(answer[-1].split()[1] == b"OK" for _, answer in through) > 50


def everything(connection: IMAPClient) -> dict[int, tuple[list[bytes], int, bytes]]:
    """Flags, size and octets of all messages of the selected folder, by UID."""
    fetched = connection.fetch(connection.search(), ["FLAGS", "RFC822.SIZE", "BODY.PEEK[]"])
    return {uid: (sorted(set(item[b"FLAGS"]) - {b"\\Recent"}), item[b"RFC822.SIZE"], item[b"BODY[]"]) for uid, item in fetched.items()}


def work(account: Account, box: str) -> list[object]:
    """A folder's life by a client's library; what each step said, with UIDs, without names."""
    steps: list[object] = []
    with imapclient_connect(account) as connection:
        below = f"{box}/Grüße & Küsse"
        connection.create_folder(box)
        connection.create_folder(below)
        connection.subscribe_folder(below)
        for letter in LETTERS:
            connection.append(box, letter, flags=(b"\\Seen", b"$Work"))
        steps.append(sorted(name.removeprefix(box) for _, _, name in connection.list_folders("", f"{box}*")))
        steps.append(sorted(name.removeprefix(box) for _, _, name in connection.list_sub_folders("", f"{box}*")))
        steps.append(connection.folder_status(box, ["MESSAGES", "UIDNEXT"]))
        steps.append(connection.select_folder(box)[b"EXISTS"])
        steps.append(everything(connection))
        steps.append((connection.search(["SUBJECT", "Letter 3"]), connection.sort(["REVERSE", "SIZE"]), connection.thread("REFERENCES")))
        connection.idle()
        with imapclient_connect(account) as other:
            other.append(box, LETTERS[0])
        heard: list[object] = []
        while not any(isinstance(item, tuple) and item[1:] == (b"EXISTS",) for item in heard):
            more = connection.idle_check(timeout=20)
            assert more, "nobody told of the new message"
            heard += more
        connection.idle_done()
        connection.add_flags([2], [b"\\Flagged"])
        connection.copy([1, 2], below)
        connection.move([3], below)
        connection.delete_messages([4])
        connection.expunge([4])
        steps.append(connection.search("ALL"))
        connection.select_folder(below)
        steps.append(everything(connection))
        connection.close_folder()
        connection.rename_folder(below, f"{box}/other")
        connection.delete_folder(f"{box}/other")
        connection.delete_folder(box)
        steps.append(connection.list_folders("", f"{box}*"))
    return steps


@pytest.fixture(scope="module")
def of_ones_own(public: Public, readers: Iterator[str]) -> list[object]:
    """What each step said in a folder of one's own."""
    return work(Account(public.mail_ports("user"), next(readers), PASSWORD, public.front.certificates.authority, "none"), "Mine")


@pytest.mark.parametrize("way", SIGN_INS)
def test_a_public_folder_does_for_a_client_what_one_of_its_own_does(
    way: str, public: Public, public_store: Dovecot, user: str, of_ones_own: list[object]
) -> None:
    account = Account(public.mail_ports(way), user, PASSWORD, public.front.certificates.authority, "none")
    assert work(account, f"Public Folders/Open/work {way}") == of_ones_own


# -- ways to sign in, and rights


@pytest.mark.parametrize("way", SIGN_INS)
def test_a_user_sees_and_may_what_is_his_to_see_and_do(way: str, public: Public, user: str) -> None:
    letter = LETTERS[0]
    with public.client(way, user) as client:
        assert settled(names(client.command(b'l LIST "" "Public Folders/*"'))) == MOUNTED
        assert b"\r\nd NO" in b"\r\n" + client.command(b'd SELECT "Public Folders/Staff only"')
        assert b"\r\ns OK" in client.command(b's SELECT "Public Folders/Notices"')
        assert b"FETCH (BODY[] {" in client.command(b"f FETCH 1 BODY.PEEK[]")
        assert b"m OK" in client.command(b"m FETCH 1:3 (FLAGS INTERNALDATE)")
        client.command(b"x STORE 1 +FLAGS (\\Deleted)")
        client.command(b"x EXPUNGE")
        assert b"(MESSAGES 3)" in client.command(b't STATUS "Public Folders/Notices" (MESSAGES)')
        assert b"p NO" in client.command(b'p APPEND "Public Folders/Notices" {%d+}\r\n%b' % (len(letter), letter))
        assert b"p OK" in client.command(b'p APPEND "Public Folders/Team" {%d+}\r\n%b' % (len(letter), letter))
        assert b"c NO" in client.command(b'c CREATE "Public Folders/Notices/New"')
        assert b"c NO" in client.command(b'c DELETE "Public Folders/Team/Minutes"')
        rights = {}
        for name in (b"Notices", b"Team", b"Open"):
            (found,) = re.findall(
                rb'\* MYRIGHTS "Public Folders/[^"]+" (\w+)\r\n', client.command(b'r MYRIGHTS "Public Folders/%b"' % name)
            )
            rights[name] = set(found.decode())
        assert rights[b"Notices"] == set("lrs")
        assert set("lrsi") <= rights[b"Team"] and not rights[b"Team"] & set("kxtea")
        assert set("lrswikxte") <= rights[b"Open"]


def test_a_folder_that_the_settings_hide_is_in_no_answer(public: Public, user: str) -> None:
    asked = [
        'LIST "" *', 'LIST "" "Public Folders/S*"', 'LIST "" ("Public Folders/%" "Public Folders/Staff only")', 'LIST (REMOTE) "" *',
        'LIST (SUBSCRIBED RECURSIVEMATCH) "" %', 'LIST "" "Public Folders/*" RETURN (STATUS (MESSAGES) SUBSCRIBED CHILDREN)', 'LSUB "" *',
    ]  # fmt: skip
    refused = [
        "EXAMINE %", "STATUS % (MESSAGES)", "APPEND % {2+}\r\nx\n", "MYRIGHTS %", "GETACL %", "GETMETADATA % /private/comment",
        "GETQUOTAROOT %", "SETACL % anyone lr", "DELETE %", "CREATE %/more", "RENAME % Mine", 'RENAME "Public Folders/Open" %/more', "COPY 1 %",
        "MOVE 1 %",
    ]  # fmt: skip
    with public.client("account", user) as client:
        client.command(b's SELECT "Public Folders/Notices"')
        for command in asked:
            answer = client.command(f"a {command}".encode())
            assert b"a OK" in answer and b"Staff" not in answer, answer
        for name in ("Staff only", "staff only", "Staff only/", "Team/../Staff only"):
            for command in refused:
                answer = client.command(f"a {command}".replace("%", f'"Public Folders/{name}"', 1).replace('"/more', '/more"').encode())
                assert re.fullmatch(rb"a NO \[(NONEXISTENT|NOPERM|CANNOT)\] [^\r]*\r\n", answer), (command, answer)


@pytest.mark.parametrize("way", SIGN_INS)
def test_a_folder_that_is_hidden_from_others_is_there_for_staff(way: str, public: Public) -> None:
    with public.client(way, STAFF) as client:
        assert settled(names(client.command(b'l LIST "" "Public Folders/*"'))) == MOUNTED | {"Public Folders/Staff only"}
        assert b"* 1 EXISTS" in client.command(b's SELECT "Public Folders/Staff only"')


def test_whoever_has_signed_in_wrongly_gets_nothing_of_the_store(public: Public, user: str) -> None:
    with Dialogue(public.ports["master"]) as client:
        client.line()
        assert b"a NO" in client.command(f"a LOGIN {user} wrong".encode())
        assert re.match(rb"b (NO|BAD) ", client.command(b'b LIST "" "Public Folders/*"'))


@pytest.mark.parametrize("way", ["master", "account"])
def test_no_secret_of_the_store_is_in_the_log(way: str, public: Public, user: str) -> None:
    with public.client(way, user) as client:
        client.command(b's SELECT "Public Folders/Notices"')
    log = public.front.log.read_text("utf-8", "replace")
    assert MASTER[1] not in log and OWNER[1] not in log and PASSWORD not in log


# -- selecting across


def test_a_client_goes_from_one_store_to_the_other_and_hears_of_the_selected_one_only(public: Public, user: str) -> None:
    with public.client("user", user) as client, public.client("user", user) as other:
        letter = LETTERS[0]
        other.command(b'c CREATE "Public Folders/Open/News"')
        try:
            assert b"* 0 EXISTS" in client.command(b's SELECT "Public Folders/Open/News"')
            answer = client.command(b"s SELECT INBOX")
            assert b"[CLOSED]" in answer and answer.index(b"[CLOSED]") < answer.index(b"EXISTS")
            assert b"a OK" in other.command(b'a APPEND "Public Folders/Open/News" {%d+}\r\n%b' % (len(letter), letter))
            assert b"EXISTS" not in client.command(b"n NOOP")
            assert b"a OK" in other.command(b"a APPEND INBOX {%d+}\r\n%b" % (len(letter), letter))
            assert b"* 1 EXISTS" in client.command(b"n NOOP")
            client.command(b"s STORE 1 +FLAGS.SILENT (\\Deleted)")
            assert b"* 1 EXISTS" in client.command(b's SELECT "Public Folders/Open/News"')
            assert b"c OK" in client.command(b"c CLOSE")
            assert b"(MESSAGES 1)" in client.command(b"t STATUS INBOX (MESSAGES)")
            client.command(b's SELECT "Public Folders/Open/News"')
            client.send(b"i IDLE\r\n")
            assert client.line().startswith(b"+")
            other.command(b'a APPEND "Public Folders/Open/News" {%d+}\r\n%b' % (len(letter), letter))
            while b"* 2 EXISTS" not in client.line():
                pass
            client.send(b"DONE\r\n")
            assert client.until(b"i").splitlines()[-1].startswith(b"i OK")
        finally:
            other.command(b'd DELETE "Public Folders/Open/News"')


def test_commands_that_do_not_wait_are_answered_as_the_client_expects(public: Public, user: str) -> None:
    with public.client("user", user) as client:
        client.send(
            b's1 SELECT INBOX\r\ns2 SELECT "Public Folders/Notices"\r\nf FETCH 1:* UID\r\n'
            b's3 SELECT INBOX\r\ng FETCH 1:* UID\r\nt STATUS "Public Folders/Notices" (MESSAGES)\r\nn NOOP\r\n'
        )
        answer = client.until(b"n")
    tags = [line.split(b" ")[0] for line in answer.splitlines() if not line.startswith(b"*")]
    assert set(tags) == {b"s1", b"s2", b"f", b"s3", b"g", b"t", b"n"}
    order = [tag for tag in tags if tag in (b"s1", b"s2", b"f", b"s3", b"g")]
    assert order == [b"s1", b"s2", b"f", b"s3", b"g"]
    notices = answer[answer.index(b"s2 OK") : answer.index(b"f OK")]
    assert notices.count(b"FETCH (UID ") == 3
    assert answer[answer.index(b"s3 OK") :].count(b"FETCH (UID ") == 0


def test_what_extensions_promise_holds_across_both_servers(public: Public, user: str) -> None:
    box = f"Public Folders/Open/{user}"
    one, two, three = LETTERS[:3]
    with public.client("user", user) as client, public.client("user", user) as other:
        client.command(f'c CREATE "{box}"'.encode())
        together = b" (\\Seen) {%d+}\r\n%b" % (len(one), one) + b" {%d+}\r\n%b {%d+}\r\n%b" % (len(two), two, len(three), three)
        assert re.match(rb"a OK \[APPENDUID \d+ 1:3\]", client.command(f'a APPEND "{box}"'.encode() + together))
        assert b"* ENABLED QRESYNC\r\n" in client.command(b"e ENABLE QRESYNC")
        selected = client.command(f's SELECT "{box}"'.encode())
        known = [re.findall(name + rb" (\d+)\]", selected)[0] for name in (b"UIDVALIDITY", b"HIGHESTMODSEQ")]
        other.command(f's SELECT "{box}"'.encode())
        other.command(b"d STORE 2 +FLAGS.SILENT (\\Deleted)")
        other.command(b"d EXPUNGE")
        assert b"* VANISHED 2\r\n" in client.command(b"n NOOP")
        client.command(b"s SELECT INBOX")
        again = client.command(f's SELECT "{box}" (QRESYNC ('.encode() + b" ".join(known) + b"))")
        assert b"* VANISHED (EARLIER) 2\r\n" in again and b"* 2 EXISTS" in again
        assert b"COUNT 1" in client.command(b"f UID SEARCH RETURN (SAVE COUNT) SEEN")
        assert re.search(rb"m OK .*", moved := client.command(b"m UID MOVE $ INBOX"))
        assert b"* VANISHED 1\r\n" in moved and re.search(rb"\[COPYUID \d+ 1 1\]", moved)
        assert b"* 1 EXISTS" in client.command(b"s SELECT INBOX")
        assert b"[MODIFIED 1]" in client.command(b"q STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\\Flagged)")
        client.command(f'd DELETE "{box}"'.encode())


# -- Cyrus as the store


def test_the_shared_folders_of_a_cyrus_are_public_ones(public_cyrus: Public, dovecot: Dovecot, people: People) -> None:
    user = people.new(dovecot)
    letter = LETTERS[0]
    with public_cyrus.client("cyrus", user) as client:
        found = settled(names(client.command(b'l LIST "" "Public Folders/*"')))
        assert found >= {"Public Folders/Team", "Public Folders/Team/Minutes", "Public Folders/Open"}
        assert "Public Folders/Hidden" not in found
        assert b"s OK" in client.command(b's SELECT "Public Folders/Team/Minutes"')
        assert b"a OK" in client.command(b'a APPEND "Public Folders/Team" (\\Flagged) {%d+}\r\n%b' % (len(letter), letter))
        assert b"s OK" in client.command(b's SELECT "Public Folders/Team"')
        assert b"\\Flagged" in client.command(b"f FETCH * FLAGS")
        assert b"c NO" in client.command(b'c CREATE "Public Folders/Team/New"')
        assert b"b OK" in client.command(b'b SUBSCRIBE "Public Folders/Team"')
        assert "Public Folders/Team" in names(client.command(b'l LSUB "" *'))
        assert re.search(rb'\* MYRIGHTS "?Public Folders/Team"? \w*i', client.command(b'r MYRIGHTS "Public Folders/Team"'))


def test_a_folder_of_a_cyrus_does_for_a_client_what_one_of_its_own_does(
    public_cyrus: Public, dovecot: Dovecot, people: People, of_ones_own: list[object]
) -> None:
    account = Account(public_cyrus.mail_ports("cyrus"), people.new(dovecot), PASSWORD, public_cyrus.front.certificates.authority, "none")
    assert work(account, "Public Folders/Open/work") == of_ones_own
