"""No mail program is hurt by sizes that are told by estimate: each gets every message whole, though it listed sizes first.

Rule of this file: all estimates are wrong, and once all too small, once all too large; what a program ends up with is compared with what was
put into the mailbox. Programs that cannot be run here fetch as they are known to, in pieces of their size, and trust the sizes as they do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from portico.demo import messages
from portico.demo.certificates import Certificates
from portico.demo.dovecot import Dovecot
from portico.demo.mailbox import Folder, Message
from portico.demo.ports import LOOPBACK, MailPorts
from portico.testing import running_proxy
from portico_size_estimates import SizeEstimates

from tests.live import clients
from tests.live.asking import Asking, asking, fetched
from tests.live.clients import Account, sha256
from tests.live.dialogue import eventually
from tests.live.people import PASSWORD, People, load

pytestmark = pytest.mark.live

LONG = b"".join(b"%06d This line says nothing, and is long.\r\n" % number for number in range(7000))
MAIL: Sequence[bytes] = [
    messages.plain(1, "Short", "A word.\r\n"),
    messages.attachments(2),
    b"From: a@example.org\r\nTo: b@example.org\r\nSubject: Three hundred kilobytes\r\nMessage-ID: <long@example.org>\r\n\r\n" + LONG,
    messages.plain(4, "Not so short", "One word more, and then some.\r\n" * 1000),
]
HEADERS = "BODY.PEEK[HEADER.FIELDS (DATE FROM SUBJECT TO CC MESSAGE-ID CONTENT-TYPE)]"
WRONG = {"too small": "100", "too large": "60 KiB"}


@contextmanager
def estimated(dovecot: Dovecot, people: People, authority: Path, how: str, **options: Any) -> Iterator[tuple[Account, Path]]:
    """A user's account through Portico, and its log."""
    user = people.new(dovecot)
    load(dovecot, user, [Folder("INBOX", [Message(octets) for octets in MAIL])])
    settings = {"estimator": "fixed", "fixed": WRONG[how], **options}
    with running_proxy(
        SizeEstimates(), settings, server=f"127.0.0.1:{dovecot.ports.imap}", protocol="imap", name="size_estimates"
    ) as proxy:
        yield Account(MailPorts(proxy.port, 0, 0, 0), user, PASSWORD, authority, "none"), proxy.log


def told(one: Asking) -> list[int]:
    """The sizes as a list of the folder has them."""
    answer = one.ask(f"UID FETCH 1:* (UID FLAGS RFC822.SIZE {HEADERS})")
    return [int(fetched(answer, number, ["RFC822.SIZE"])["RFC822.SIZE"] or b"") for number in range(1, len(MAIL) + 1)]


@pytest.fixture(params=sorted(WRONG))
def account(request: pytest.FixtureRequest, dovecot: Dovecot, people: People, certificates: Certificates) -> Iterator[Account]:
    with estimated(dovecot, people, certificates.authority, request.param) as (account, _):
        with asking(account.ports.imap, account.user) as one:
            assert all(size != len(octets) for size, octets in zip(told(one), MAIL, strict=True)), "all are wrong"
        yield account


def bodies(found: Sequence[bytes]) -> list[str]:
    """What follows the header, which programs add lines to, by hash."""
    return sorted(sha256(octets.replace(b"\r\n", b"\n").partition(b"\n\n")[2].rstrip(b"\n")) for octets in found)


def test_mbsync_gets_every_message_whole(account: Account, tmp_path: Path, need: Callable[..., None]) -> None:
    need("mbsync")
    clients.mbsync(account, tmp_path, folders="INBOX")
    assert bodies([path.read_bytes() for path in (tmp_path / "mail/INBOX").glob("*/*,U=*")]) == bodies(MAIL)


def test_fetchmail_gets_every_message_whole(account: Account, tmp_path: Path, need: Callable[..., None]) -> None:
    need("fetchmail")
    clients.fetchmail(account, tmp_path / "f", "imap")
    assert bodies([path.read_bytes() for path in (tmp_path / "f/in").iterdir()]) == bodies(MAIL)


def test_mutt_copies_every_message_whole(account: Account, tmp_path: Path, need: Callable[..., None]) -> None:
    need("mutt")
    copy = tmp_path / "copy"
    clients.mutt(account, tmp_path / "home", "INBOX", ("Msgs:4", "T~A\n"), ("Tag:4", f":set mbox_type=Maildir\n;C\x15{copy}\nq"))
    assert bodies([path.read_bytes() for path in copy.glob("*/*") if path.is_file()]) == bodies(MAIL)


def test_a_program_that_fetches_large_messages_in_pieces_by_the_size_told_as_thunderbird_does(account: Account) -> None:
    with asking(account.ports.imap, account.user) as one:
        sizes = told(one)
        for number, octets in enumerate(MAIL, 1):
            found = b""
            if sizes[number - 1] > 96 * 1024:  # no estimate is; else it would be thrown away when it ends too early
                while len(found) < sizes[number - 1]:
                    found += piece(one, number, len(found), 65536)
            else:
                found = fetched(one.ask(f"UID FETCH {number} (UID RFC822.SIZE BODY.PEEK[])"), number, ["BODY[]"])["BODY[]"] or b""
            assert found == octets


def test_a_program_that_fetches_in_pieces_until_one_is_short_as_javamail_does(account: Account) -> None:
    with asking(account.ports.imap, account.user) as one:
        told(one)
        for number, octets in enumerate(MAIL, 1):
            found = last = piece(one, number, 0, 16384)
            while len(last) == 16384:
                found += (last := piece(one, number, len(found), 16384))
            assert found == octets


def piece(one: Asking, number: int, start: int, length: int) -> bytes:
    return fetched(one.ask(f"FETCH {number} (BODY.PEEK[]<{start}.{length}>)"), number, [f"BODY[]<{start}>"])[f"BODY[]<{start}>"] or b""


@pytest.mark.parametrize("how", sorted(WRONG))
def test_a_program_that_downloads_as_much_as_it_was_told_is_told_the_truth_as_roundcube_is(
    dovecot: Dovecot, people: People, certificates: Certificates, how: str
) -> None:
    with estimated(dovecot, people, certificates.authority, how) as (account, _), clients.imaplib_connect(account) as imap:
        imap.xatom("ID", '("name" "Roundcube" "version" "1.6.5")')
        imap.select("INBOX", readonly=True)
        sizes = [
            int(row.rpartition(b" ")[2].rstrip(b")")) for row in imap.fetch("1:*", "(UID FLAGS RFC822.SIZE)")[1] if isinstance(row, bytes)
        ]
        for number, octets in enumerate(MAIL, 1):
            (_, whole), *_ = imap.fetch(str(number), "(BODY.PEEK[])")[1]
            assert whole[: sizes[number - 1]] == octets  # the rest, a browser does not wait for
        assert sizes == [len(octets) for octets in MAIL]


def test_with_a_sample_every_size_in_it_is_true_and_the_log_says_how_far_off_others_proved_to_be(
    dovecot: Dovecot, people: People, certificates: Certificates
) -> None:
    with estimated(dovecot, people, certificates.authority, "too small", estimator="learned", sample=2) as (account, log):
        with asking(account.ports.imap, account.user) as one:
            sizes = told(one)
            assert [sizes[0], sizes[3]] == [len(MAIL[0]), len(MAIL[3])]
            for number, size in enumerate(sizes, 1):
                answer = one.ask(f"FETCH {number} (RFC822.SIZE BODY.PEEK[])")
                assert fetched(answer, number, ["RFC822.SIZE"])["RFC822.SIZE"] == b"%d" % size
            one.ask("LOGOUT")
        assert eventually(lambda: "sizes.told" in log.read_text("utf-8"))
        (event,) = [json.loads(line) for line in log.read_text("utf-8").splitlines() if '"sizes.told"' in line]
        assert (event["estimated"], event["exact"]) == (2, 2)
        assert event["off"] in [round(size / len(octets), 3) for size, octets in zip(sizes, MAIL, strict=True)]


def test_a_size_stays_whichever_program_asks_and_whenever(account: Account) -> None:
    with asking(account.ports.imap, account.user) as one:
        before = told(one)
        for number in range(1, len(MAIL) + 1):
            one.ask(f"FETCH {number} BODY.PEEK[]")
    with asking(account.ports.imap, account.user) as one:
        answers = [
            one.ask(f"FETCH 1:* ({items})")
            for items in ("RFC822.SIZE", "RFC822.SIZE BODYSTRUCTURE", "BODY.PEEK[] RFC822.SIZE", "FLAGS RFC822.SIZE")
        ]
        for answer in answers:
            assert [int(fetched(answer, number, ["RFC822.SIZE"])["RFC822.SIZE"] or b"") for number in range(1, len(MAIL) + 1)] == before
        found = one.ask("SORT (REVERSE SIZE) UTF-8 ALL")[0].split()[2:]
        assert [before[int(number) - 1] for number in found] == sorted(before, reverse=True)
        assert one.ask(f"SEARCH LARGER {max(before)}")[0].split()[2:] == []
        assert len(one.ask(f"SEARCH LARGER {max(before) - 1}")[0].split()[2:]) == before.count(max(before))


@pytest.mark.parametrize("how", sorted(WRONG))
def test_over_pop3_every_message_is_retrieved_whole_though_its_size_was_wrong(
    dovecot: Dovecot, people: People, tmp_path: Path, certificates: Certificates, how: str, need: Callable[..., None]
) -> None:
    need("fetchmail")
    user = people.new(dovecot)
    load(dovecot, user, [Folder("INBOX", [Message(octets) for octets in MAIL])])
    settings = {"estimator": "fixed", "fixed": WRONG[how], "pop3": True}
    server = f"{LOOPBACK}:{dovecot.ports.pop3}"
    with running_proxy(SizeEstimates(), settings, server=server, protocol="pop3", name="size_estimates") as proxy:
        account = Account(MailPorts(0, proxy.port, 0, 0), user, PASSWORD, certificates.authority, "none")
        pop = clients.poplib_connect(account)
        listed = [int(row.split()[1]) for row in pop.list()[1]]
        assert len(set(listed)) == 1 and pop.stat() == (len(MAIL), sum(listed))
        assert [b"\r\n".join([*pop.retr(number)[1], b""]) for number in range(1, len(MAIL) + 1)] == list(MAIL)
        assert pop.stat() == (len(MAIL), sum(listed))
        pop.quit()
        clients.fetchmail(account, tmp_path / "f", "pop3")
    assert bodies([path.read_bytes() for path in (tmp_path / "f/in").iterdir()]) == bodies(MAIL)
