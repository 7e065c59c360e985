"""check_plugin lets a good annotator pass and says of a bad one what is bad."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

import pytest
from portico.plugin import Insertion, Interests, Outline, Part, Session, hookimpl
from portico.testing import annotated, check_plugin
from portico.testing.samples import MESSAGES
from portico.wire.mime import scan

Wants = Callable[[Session, Outline], Any]
Insertions = Callable[[Session, Outline, Mapping[str, bytes]], Any]


def first_text(outline: Outline) -> Part | None:
    return next((part for part in outline.structure.walk() if part.type in ("text/plain", "text/html")), None)


def number_of_a_text(session: Session, outline: Outline) -> Any:
    found = first_text(outline)
    return (found.number,) if found is not None else None


def greets(session: Session, outline: Outline, parts: Mapping[str, bytes]) -> Any:
    return [Insertion(number, f"For {session.user}: {outline.subject}\n") for number in parts]


def annotates(wants: Wants = number_of_a_text, insertions: Insertions = greets, types: Sequence[str] = (), serves: Any = None) -> type[Any]:
    """A plugin with such an annotator."""

    class Annotates:
        portico_interests = ("annotations",)

        @hookimpl
        def session_opened(self, session: Session) -> Interests:
            return Interests(annotator=Judgement())

    class Judgement:
        def __init__(self) -> None:
            self.types = types
            if serves is not None:
                self.serves = serves

        def wants(self, session: Session, outline: Outline) -> Any:
            return wants(session, outline)

        def insertions(self, session: Session, outline: Outline, parts: Mapping[str, bytes]) -> Any:
            return insertions(session, outline, parts)

    return Annotates


def test_a_good_annotator_passes() -> None:
    check_plugin(annotates())
    check_plugin(annotates(wants=lambda session, outline: None))
    check_plugin(annotates(wants=lambda session, outline: (), insertions=lambda session, outline, parts: []))
    check_plugin(annotates(serves=lambda session: session.client_id.get("name") != "Outlook"))


def test_it_is_asked_only_about_messages_of_its_types() -> None:
    asked: list[Outline] = []

    def wants(session: Session, outline: Outline) -> None:
        asked.append(outline)

    check_plugin(annotates(wants, types=("text/calendar",)), protocols=["imap"])
    assert asked
    assert all(any(part.type == "text/calendar" for part in outline.structure.walk()) for outline in asked)
    assert {(outline.mailbox, outline.uid, outline.uidl) for outline in asked} == {("INBOX", 7, "")}
    asked.clear()
    check_plugin(annotates(wants), protocols=["pop3"])
    assert {(outline.mailbox, outline.uid, outline.uidl) for outline in asked} == {("INBOX", 0, "uidl-1")}
    assert {outline.subject for outline in asked} == {"Äpfel & more"}
    assert len(asked) == len(MESSAGES) * 2 * 2  # twice in each of two sessions


def test_it_is_asked_about_messages_that_are_given() -> None:
    message = b"Subject: mine\r\nContent-Type: text/plain\r\n\r\nhello\r\n"

    def raises_at_mine(session: Session, outline: Outline) -> None:
        if outline.subject == "mine":
            raise KeyError("mine")

    check_plugin(annotates(raises_at_mine))
    with pytest.raises(AssertionError, match="annotator: wants of message 1 of those given: KeyError raised"):
        check_plugin(annotates(raises_at_mine), messages=[message])


def named(*numbers: Any) -> Wants:
    return lambda session, outline: numbers


def says(*insertions: Any) -> Insertions:
    return lambda session, outline, parts: list(insertions) if first_text(outline) is not None else []


def raising(*about: Any) -> None:
    raise LookupError("my table is gone")


def of_a_session(of: Callable[[Session], str]) -> Insertions:
    return lambda session, outline, parts: [Insertion(number, of(session)) for number in parts]


def reads_all(session: Session, outline: Outline, parts: Mapping[str, bytes]) -> Any:
    return [Insertion(number, octets.decode() or "empty") for number, octets in parts.items()]


def forgets(session: Session, outline: Outline) -> Any:
    outline.structure.parameters.clear()
    outline.structure.parts.clear()


def numbered(counter: Any) -> Insertions:
    return lambda session, outline, parts: [Insertion(number, f"No. {next(counter)}") for number in parts]


@pytest.mark.parametrize(
    ("plugin", "complaint"),
    [
        (annotates(raising), "plugin: IMAP, annotator: wants of a text: LookupError raised in test_annotators.py"),
        (annotates(insertions=raising), "insertions of a text: LookupError raised"),
        (annotates(named("1", "99")), r"wants named part '99', which a text does not have \(1\)"),
        (annotates(lambda session, outline: "1"), "wants returned '1' for a text: a sequence of part numbers is expected"),
        (annotates(lambda session, outline: True), "wants returned True for a text"),
        (annotates(lambda session, outline: tuple(part.number for part in outline.structure.walk())), "is a multipart and cannot be read"),
        (annotates(named(), says(Insertion("7", "x"))), "an insertion is for part '7', which a text does not have"),
        (annotates(named(), lambda session, outline, parts: [Insertion("1", "x")]), "of a file alone, which is application/octet-stream"),
        (annotates(named(), says(Insertion("1", b"x"))), r"an Insertion\(part, text\) with a text is expected"),  # type: ignore[arg-type]
        (annotates(named(), says(("1", "x"))), r"insertions returned \('1', 'x'\) for a text"),
        (annotates(named(), lambda session, outline, parts: None), "insertions returned None for a text: a list is expected"),
        (annotates(insertions=says(Insertion("1", "x"), Insertion("1", "y"))), "several insertions for one part"),
        (annotates(insertions=of_a_session(lambda session: " \n")), "of a text is empty"),
        (annotates(insertions=of_a_session(lambda session: "x\n" * 40_000)), "more than 65536 characters"),
        (annotates(insertions=of_a_session(lambda session: "x" * 2000)), "a word has more than 998 octets"),
        (annotates(insertions=of_a_session(lambda session: session.id)), "a block is made once and shown in all of them"),
        (annotates(insertions=of_a_session(lambda session: str(session.peer.rport))), "in one session and .* in another of the same user"),
        (annotates(insertions=of_a_session(lambda session: str(random.random()))), "answers twice about a text, and differently"),
        (annotates(insertions=numbered(count())), "answers twice about a text, and differently"),
        (annotates(insertions=reads_all), "insertions of a text with octets that are no text: UnicodeDecodeError raised"),
        (annotates(forgets), "wants changes what it is told of a text"),
        (annotates(types="text/calendar"), "content types in lower case are expected"),
        (annotates(types=("TEXT/Calendar",)), "content types in lower case are expected"),
        (annotates(serves=lambda session: None), "serves returned None, no bool"),
        (annotates(serves=raising), "annotator: serves: LookupError raised"),
    ],
)
def test_a_bad_one_does_not_and_is_told_why(plugin: type[Any], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_plugin(plugin, protocols=["imap"])


def test_one_that_computes_for_long_or_waits_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portico.testing.asked.MOST_SECONDS", 0.05)

    def computes(session: Session, outline: Outline) -> None:
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass

    with pytest.raises(AssertionError, match=r"wants of a text computes for 0\.\d s; all sessions wait meanwhile"):
        check_plugin(annotates(computes))
    monkeypatch.setattr("portico.testing.asked.MOST_WAITING", 0.05)

    def waits(session: Session, outline: Outline) -> None:
        time.sleep(0.1)

    with pytest.raises(AssertionError, match=r"wants of a text takes \d+\.\d s; it must not wait for anything"):
        check_plugin(annotates(waits))


@pytest.mark.parametrize("what", MESSAGES)
def test_our_messages_are_what_they_are_called(what: str) -> None:
    structure = scan(MESSAGES[what]).finish()
    types = [part.type for part in structure.walk()]
    assert ("text/calendar" in types) == ("request" in what or "no Message-ID" in what)
    assert ("multipart/signed" in types) == ("signed" in what)
    assert (types == ["application/octet-stream"]) == (what == "a file alone")


def test_one_that_is_given_and_no_message_is_told() -> None:
    with pytest.raises(AssertionError, match="message 2 of those given is no message that Portico reads: "):
        check_plugin(annotates(), messages=[MESSAGES["a text"], b"Subject: " + b"x" * 500_000])


def test_an_author_sees_the_message_that_a_client_gets() -> None:
    both = MESSAGES["a text and HTML"]
    seen = annotated(annotates(), both, user="carol")
    begin, _, rest = seen.partition("For carol: Äpfel & more\r\n".encode())
    assert rest
    assert begin.endswith(b"8bit\r\n\r\n")
    assert seen.endswith(both[-100:])
    assert len(seen) > len(both)
    assert annotated(annotates(wants=lambda session, outline: None), both) == both
    assert annotated(annotates(types=("text/calendar",)), both) == both
    assert annotated(annotates(serves=lambda session: session.client_id != {"name": "x"}), both, client_id={"name": "x"}) == both
    assert annotated(annotates(), MESSAGES["a signed text"], protocol="pop3") == MESSAGES["a signed text"]
    with pytest.raises(AssertionError, match="annotator wants: LookupError raised"):
        annotated(annotates(raising), both)


def test_what_carries_a_block_already_gets_no_second_one() -> None:
    once = annotated(annotates(), MESSAGES["a text"])
    assert once.count(b"For alice") == 1
    assert annotated(annotates(), once, protocol="pop3") == once
    assert annotated(annotates(), once) == once  # it reads the text before its size is told
    blind = annotates(named(), lambda session, outline, parts: [Insertion("1", "For nobody\n")])
    twice = annotated(blind, once)
    assert b"For nobody" not in twice
    assert len(twice) - len(once) == len(annotated(blind, MESSAGES["a text"])) - len(MESSAGES["a text"])
    assert annotated(blind, once, protocol="pop3") == once
