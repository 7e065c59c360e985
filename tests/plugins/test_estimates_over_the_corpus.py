"""How far off the estimates of sizes are, over the messages of the corpus.

Rule of this file: a folder of a thousand messages drawn from the corpus is listed as a mail program does, once with what it asks for along
that tells kinds apart; what is told is set against the truth. The figures of docs/how-to/fast-message-retrieval.md are made by the same function.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pytest
from portico.testing import Correspondence
from portico_size_estimates import SizeEstimates

MESSAGES = 1000
TYPE = re.compile(rb"^content-type:.*?(?=\r\n[^ \t]|\Z)", re.IGNORECASE | re.MULTILINE | re.DOTALL)
FIELD = "BODY[HEADER.FIELDS (CONTENT-TYPE)]"


def told_by_true(messages: Sequence[bytes], sample: int, *, kinds: bool, off: float = 0.0) -> tuple[list[float], list[float]]:
    """Of the messages that were in the sample, and of the others: the size told by the true one. `off`: the option off_by_at_most."""
    items = f"BODY.PEEK{FIELD[4:]}" if kinds else "FLAGS"
    with Correspondence(SizeEstimates(), {"sample": sample, "off_by_at_most": off}, name="size_estimates") as session:
        session.sign_in()
        session.client(b"s SELECT INBOX\r\n")
        session.server(b"* %d EXISTS\r\n* OK [UIDVALIDITY 1] v\r\ns OK in\r\n" % len(messages))
        asked = session.asked(f"l FETCH 1:* (UID RFC822.SIZE {items})\r\n".encode())
        sampled: set[int] = set()
        while b"portico-" in asked:
            tag, _, command = asked.partition(b" ")
            numbers = [int(number) for number in command.split()[1].split(b",")]
            sampled.update(numbers)
            said = b"".join(
                b"* %d FETCH (UID %d RFC822.SIZE %d %b)\r\n" % (n, n, len(messages[n - 1]), told(messages[n - 1], kinds)) for n in numbers
            )
            asked = session.answered(said + tag + b" OK done\r\n")
        true = b"RFC822.SIZE" in asked
        ratios: tuple[list[float], list[float]] = [], []
        for number, message in enumerate(messages, 1):
            size_too = b" RFC822.SIZE %d" % len(message) if true else b""
            answer = session.server(b"* %d FETCH (UID %d %b%b)\r\n" % (number, number, told(message, kinds), size_too))
            size = re.search(rb" RFC822\.SIZE (\d+)\)\r\n\Z", answer)
            assert size is not None
            ratios[number not in sampled].append(int(size[1]) / len(message))
    return ratios


def told(message: bytes, kinds: bool) -> bytes:
    if not kinds:
        return b"FLAGS ()"
    found = TYPE.search(message.partition(b"\r\n\r\n")[0])
    field = (found[0] + b"\r\n\r\n") if found is not None else b"\r\n"
    return FIELD.encode() + b" {%d}\r\n%b" % (len(field), field)


def folder(messages: Sequence[bytes]) -> list[bytes]:
    return random.Random(1).choices(messages, k=MESSAGES)


def at(share: float, ratios: Sequence[float]) -> float:
    """How far off the estimate is that is worse than `share` of all: twice too large and twice too small are equally bad."""
    return sorted(max(ratio, 1 / ratio) for ratio in ratios)[min(len(ratios) - 1, round(share * len(ratios)))]


@pytest.mark.parametrize("kinds", [True, False])
@pytest.mark.parametrize("sample", [0, 20, 100])
def test_what_is_in_the_sample_is_exact_and_the_others_are_right_in_the_middle(corpus: list[Path], sample: int, kinds: bool) -> None:
    sampled, others = told_by_true(folder([path.read_bytes() for path in corpus]), sample, kinds=kinds)
    assert len(sampled) == sample and set(sampled) <= {1.0}
    assert len(others) == MESSAGES - sample
    if sample:
        assert 0.5 <= median(others) <= 2


def test_where_off_by_at_most_is_set_the_wild_mailbox_of_the_corpus_is_told_the_truth(corpus: list[Path]) -> None:
    sampled, others = told_by_true(folder([path.read_bytes() for path in corpus]), 100, kinds=True, off=2.0)
    assert {*sampled, *others} == {1.0}


@pytest.mark.parametrize("kinds", [True, False])
def test_where_off_by_at_most_is_set_a_mailbox_of_messages_that_are_alike_is_estimated_and_none_is_further_off(kinds: bool) -> None:
    sampled, others = told_by_true(alike(reports=kinds), 100, kinds=kinds, off=2.0)
    assert set(sampled) == {1.0}
    assert len(set(others)) > 100, "estimated, not asked for"
    assert 0.5 <= min(others) <= max(others) <= 2


def alike(*, reports: bool) -> list[bytes]:
    """Notifications of 3 to 5 KB, as a program sends them day after day; `reports`: every fourth is one of 30 to 50 KB, with an attachment."""
    chance = random.Random(1)
    messages = []
    for number in range(MESSAGES):
        large = reports and number % 4 == 0
        kind = b"multipart/mixed; boundary=x" if large else b"text/plain"
        header = b"Subject: no. %d\r\nContent-Type: %b\r\n\r\n" % (number, kind)
        messages.append(header + b"x" * round(chance.uniform(3000, 5000) * (10 if large else 1)))
    return messages
