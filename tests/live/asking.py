"""A signed-in IMAP session that asks for one thing and gets the values, and what can be asked of a message.

Rule of this file: values are compared as they came on the wire; a refusal is a value too (None).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from portico.testing.client import Dialogue
from portico.wire.bodystructure import Part, parse_structure
from portico.wire.imap import parse_fetch, unquoted

from tests.live.people import PASSWORD

Values = dict[str, bytes | None]
"""By item, as a response names it: the value, without quotes or literal; None: NIL or refused."""

SIZES: Final = ("RFC822.SIZE", "BODY", "BODYSTRUCTURE", "ENVELOPE")
WHOLES: Final = ("BODY[]", "BODY[HEADER]", "BODY[TEXT]", "RFC822", "RFC822.HEADER", "RFC822.TEXT")
_STRINGS: Final = ("BODY[", "RFC822", "RFC822.", "BINARY[")


class Asking:
    """One session, in a mailbox."""

    def __init__(self, imap: Dialogue, user: str, mailbox: str = "INBOX") -> None:
        self.imap = imap
        self.mailbox = mailbox
        imap.line()
        for command in (f"LOGIN {user} {PASSWORD}", f"SELECT {mailbox}"):
            assert self.ask(command)[-1].startswith(b"t OK"), command
        capabilities = b"".join(self.ask("CAPABILITY")).split()
        self.binary = b"BINARY" in capabilities
        self.sums = b"STATUS=SIZE" in capabilities

    def ask(self, command: str, tag: str = "t") -> list[bytes]:
        """All responses, the tagged one last."""
        self.imap.send(f"{tag} {command}\r\n".encode())
        return self.answer(tag)

    def answer(self, tag: str) -> list[bytes]:
        """The responses to a command that has been sent."""
        self.imap.received = b""  # else each line would be put behind all that has ever come
        responses = [self.imap.response()]
        while not responses[-1].startswith(tag.encode() + b" "):
            responses.append(self.imap.response())
        return responses

    def fetch(self, number: int, *items: str) -> Values:
        return fetched(self.ask(f"FETCH {number} ({' '.join(map(peeked, items))})"), number, items)

    def all_of(self, number: int) -> Values:
        """Whatever can be asked of a message. BINARY: where the server has it; of a part that it cannot decode it is refused."""
        found = self.fetch(number, *SIZES, *WHOLES)
        items = parts_of(structure_in(found))
        if items:
            found |= self.fetch(number, *items)
        if self.binary:
            items = decoded_of(structure_in(found))
            values = self.fetch(number, *items) if items else {}
            if None in values.values():
                for item in items:
                    values |= self.fetch(number, item)
            found |= values
        return found


@contextmanager
def asking(port: int, user: str, mailbox: str = "INBOX") -> Iterator[Asking]:
    with Dialogue(port) as imap:
        yield Asking(imap, user, mailbox)


def peeked(item: str) -> str:
    """The item as it is asked for without setting \\Seen; RFC822 and RFC822.TEXT have no such form (RFC 3501 6.4.5)."""
    for name in ("BODY[", "BINARY["):
        if item.startswith(name):
            return f"{name[:-1]}.PEEK[{item[len(name) :]}"
    return item


def fetched(responses: Sequence[bytes], number: int, items: Sequence[str]) -> Values:
    """What the responses to a FETCH tell of a message; all None where the server refused it."""
    if b" OK" not in responses[-1][:10]:
        assert b" NO" in responses[-1][:10], responses[-1]
        return dict.fromkeys(items)
    found: Values = {}
    for raw in responses[:-1]:
        if b" FETCH (" in raw[:30]:
            response = parse_fetch(raw)
            if response.number == number:
                for name in response.items:
                    value = response.value(name) or b""
                    found[name] = unquoted(value) if name.startswith(_STRINGS) and name != "RFC822.SIZE" else value
    # Cyrus leaves a part out that it cannot decode (RFC 3516 4.3 has NO for that).
    assert {item for item in items if not item.startswith("BINARY")} <= set(found), (items, responses)
    return {item: found.get(item) for item in items}  # not the flags that come with \\Seen


def structure_in(values: Values) -> Part:
    return parse_structure(values["BODYSTRUCTURE"] or b"")


def leaves(part: Part) -> list[Part]:
    return [each for each in part.walk() if not each.parts]


def nested(part: Part) -> Iterator[Part]:
    """All parts, those in message/rfc822 too."""
    for each in part.walk():
        yield each
        if each.message is not None:
            yield from nested(each.message)


def parts_of(structure: Part) -> list[str]:
    """The items that name parts: BODY[n], BODY[n.MIME], of enclosed messages BODY[n.HEADER] and BODY[n.TEXT]."""
    found = []
    for part in nested(structure):
        number = part.number
        if not number or number.endswith("TEXT"):
            continue
        found += [f"BODY[{number}]", f"BODY[{number}.MIME]"]
        if part.message is not None:
            found += [f"BODY[{number}.HEADER]", f"BODY[{number}.TEXT]"]
    return found


def decoded_of(structure: Part) -> list[str]:
    """BINARY[n] and BINARY.SIZE[n] (RFC 3516) of the parts that are no multiparts and no messages."""
    numbers = [part.number for part in leaves(structure) if part.message is None]
    return [f"{name}[{number}]" for number in numbers for name in ("BINARY", "BINARY.SIZE")]
