"""Fast message retrieval, as a mail program and its server see it."""

from __future__ import annotations

from typing import Any

import pytest
from portico.plugin import Sketch
from portico.testing import Correspondence, check_plugin
from portico_size_estimates import SizeEstimates
from portico_size_estimates.estimators import Learned, kind_of

FOLDER = ("mail", "alice", "INBOX")


def test_it_keeps_what_plugins_promise() -> None:
    check_plugin(SizeEstimates())


def begun(**options: Any) -> Correspondence:
    user, client = options.pop("user", "alice"), options.pop("client", None)
    session = Correspondence(SizeEstimates(), options, name="size_estimates")
    session.sign_in(user, client_id={"name": client} if client else None)
    if session.mode == "watch":
        session.play("C: s SELECT INBOX\nS: * 3 EXISTS\nS: * OK [UIDVALIDITY 1] v\nS: s OK in")
    return session


def test_a_folder_is_listed_by_what_a_few_of_its_messages_are_like() -> None:
    with begun(sample=2) as session:
        session.play(
            """
            C: a FETCH 1:* (FLAGS RFC822.SIZE)
            to S: portico-m1 FETCH 1,3 (UID RFC822.SIZE)
            S: * 1 FETCH (UID 1 RFC822.SIZE 1000)
            to nobody
            S: * 3 FETCH (UID 3 RFC822.SIZE 4000)
            to nobody
            S: portico-m1 OK done
            to S: a FETCH 1:* (UID FLAGS)
            S: * 1 FETCH (UID 1 FLAGS ())
            to C: * 1 FETCH (FLAGS () RFC822.SIZE 1000)
            S: * 2 FETCH (UID 2 FLAGS ())
            to C: * 2 FETCH (FLAGS () RFC822.SIZE 2000)
            S: a OK done
            """
        )


def test_a_folder_whose_sample_is_too_wild_is_told_the_truth() -> None:
    for second, sent, told in ((3000, "(UID FLAGS)", 1732), (9000, "(UID FLAGS RFC822.SIZE)", 5)):
        with begun(sample=2, off_by_at_most=2.0) as session:
            session.play(
                f"""
                C: a FETCH 1:* (FLAGS RFC822.SIZE)
                to S: portico-m1 FETCH 1,3 (UID RFC822.SIZE)
                S: * 1 FETCH (UID 1 RFC822.SIZE 1000)
                to nobody
                S: * 3 FETCH (UID 3 RFC822.SIZE {second})
                to nobody
                S: portico-m1 OK done
                to S: a FETCH 1:* {sent}
                S: * 2 FETCH (UID 2 FLAGS (){"" if told > 5 else " RFC822.SIZE 5"})
                to C: * 2 FETCH ({"" if told > 5 else "UID 2 "}FLAGS () RFC822.SIZE {told})
                S: a OK done
                """
            )


def test_a_fixed_size_asks_the_server_for_nothing() -> None:
    with begun(estimator="fixed", fixed="5 KiB") as session:
        session.play(
            """
            C: a FETCH 1 RFC822.SIZE
            to S: a FETCH 1 (UID)
            S: * 1 FETCH (UID 1)
            to C: * 1 FETCH (RFC822.SIZE 5120)
            S: a OK done
            """
        )


@pytest.mark.parametrize("options", [{"exact": ["AL*"]}, {"users": ["bob"]}])
def test_who_is_told_the_truth_has_a_session_as_without_the_plugin(options: dict[str, Any]) -> None:
    with begun(**options) as session:
        assert session.mode == "tunnel"


def test_over_pop3_sizes_are_true_unless_that_is_asked_for() -> None:
    with Correspondence(SizeEstimates(), {}, name="size_estimates", protocol="pop3") as session:
        session.sign_in()
        assert session.mode == "tunnel"
    with Correspondence(SizeEstimates(), {"pop3": True, "sample": 0}, name="size_estimates", protocol="pop3") as session:
        session.sign_in()
        session.client(b"STAT\r\n")
        assert session.server(b"+OK\r\n1 a\r\n2 b\r\n.\r\n") == b"+OK 2 16384\r\n"
    with Correspondence(
        SizeEstimates(), {"pop3": True, "sample": 2, "off_by_at_most": 2.0}, name="size_estimates", protocol="pop3"
    ) as session:
        session.sign_in()
        session.client(b"STAT\r\n")
        session.server(b"+OK\r\n1 a\r\n2 b\r\n3 c\r\n.\r\n")
        session.server(b"+OK 2 90000\r\n")
        assert session.answered(b"+OK 1 100\r\n") == b"STAT\r\n"
        assert session.server(b"+OK 3 90177\r\n") == b"+OK 3 90177\r\n"
    check_plugin(SizeEstimates(), {"pop3": True})


def test_a_mail_program_that_is_told_the_truth() -> None:
    with begun(exact_clients=["fussy*"], client="Fussy 3.0") as session:
        session.play("C: a FETCH 1 RFC822.SIZE\n\nS: * 1 FETCH (RFC822.SIZE 77)\n\nS: a OK done")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sample": -1}, "sample"),
        ({"fixed": "1 MiB"}, "above most"),
        ({"off_by_at_most": 0.5}, "a factor"),
        ({"off_by_at_most": 2.0, "sample": 0}, "there is none"),
        ({"off_by_at_most": 2.0, "estimator": "fixed"}, "there is none"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(Exception, match=words):
        Correspondence(SizeEstimates(), options, name="size_estimates")


def sketch(header: bytes = b"") -> Sketch:
    return Sketch("INBOX", 1, {"BODY[HEADER.FIELDS (CONTENT-TYPE)]": b"{%d}\r\n%b" % (len(header), header)})


def test_kinds_are_told_apart_by_their_content_type() -> None:
    assert kind_of(sketch(b"Subject: x\r\nContent-Type: Multipart/Mixed; boundary=x\r\n")) == "multipart/mixed"
    assert kind_of(sketch()) == kind_of(Sketch("INBOX", 1, {"FLAGS": b"()"})) == ""
    learned = Learned(8192, 61440)
    mixed, plain = sketch(b"Content-Type: multipart/mixed\r\n"), sketch(b"Content-Type: text/plain\r\n")
    for size in (40_000, 50_000, 60_000):
        learned.learn(FOLDER, mixed, size)
    for size in (900, 1000, 1100):
        learned.learn(FOLDER, plain, size)
    assert 45_000 < learned.estimate(FOLDER, mixed) < 52_000
    assert 900 < learned.estimate(FOLDER, plain) < 1100
    assert learned.estimate(("mail", "alice", "Other"), plain) == 8192


def test_a_folder_is_estimated_if_each_kind_of_which_enough_is_known_is_alike() -> None:
    learned = Learned(8192, 61440, 2.0)
    assert not learned.confident(FOLDER)
    mixed, plain = sketch(b"Content-Type: multipart/mixed\r\n"), sketch(b"Content-Type: text/plain\r\n")
    for size in (40_000, 50_000, 59_000):
        learned.learn(FOLDER, mixed, size)
    assert learned.confident(FOLDER)
    learned.learn(FOLDER, plain, 900)
    assert not learned.confident(FOLDER), "one of a kind is too few to know the kind by"
    for size in (1000, 1100):
        learned.learn(FOLDER, plain, size)
    assert learned.confident(FOLDER)
    learned.learn(FOLDER, mixed, 200_000)
    assert not learned.confident(FOLDER), "no estimate is above most"


def test_no_estimate_is_above_what_mail_programs_fetch_in_one_piece() -> None:
    learned = Learned(8192, 61440)
    for _ in range(5):
        learned.learn(FOLDER, sketch(), 10_000_000)
    assert learned.estimate(FOLDER, sketch()) == 61440
