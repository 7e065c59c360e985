"""The selected mailbox of an IMAP session, as far as annotations need to know it.

Rule of this file: message numbers move (RFC 9051 7.5.1, RFC 7162 3.2.10), UIDs do not; both are kept together here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from portico.session.annotations.annotation import NOTHING_IS_NEW, Known, Mailbox
from portico.wire.fetch import ranges_of
from portico.wire.mailbox import encode


@dataclass(slots=True)
class Selected:
    """The selected mailbox. `judged`: messages 1 to this number have been judged. `last`: UID of the last of them; 0: not known."""

    mailbox: Mailbox
    known: Known
    exists: int = 0
    judged: int = 0
    last: int = 0
    gone: int = 0
    """How many messages have left it since it was selected."""
    looked: bool = False
    failures: int = 0
    uid_next: int = 0
    """RFC 9051 2.3.1.1, when it was selected; 0: the server did not say."""
    numbers: dict[int, str] = field(default_factory=dict)
    """Message number to UID, of the annotated ones."""

    def learn(self, known: Known, watermark: int) -> None:
        """The ledger has written down that messages up to UID `watermark` were judged, and says what it knows. What this session has shown
        stays as it is (RFC 9051 2.3.1.1), also where the ledger has forgotten it, by another session's word or altogether; one that cannot
        be asked knows nothing of what is new."""
        if known.watermark >= NOTHING_IS_NEW:
            known = replace(self.known, watermark=watermark)
        shown = {uid: self.known.annotations[uid] for uid in self.numbers.values() if uid not in known.annotations}
        if shown:
            wholes = known.wholes or any(each.whole for each in shown.values())
            known = replace(known, annotations={**known.annotations, **shown}, wholes=wholes)
        self.known = known

    def expunged(self, number: int) -> None:
        """RFC 9051 7.5.1: those behind it move down by one."""
        self.exists = max(0, self.exists - 1)
        self.gone += 1
        if number == self.judged:
            self.last = 0
        if number <= self.judged:
            self.judged -= 1
        self.numbers = {each - (each > number): uid for each, uid in self.numbers.items() if each != number}

    def vanished(self, uids: bytes) -> None:
        """RFC 7162 3.2.10, without (EARLIER): each UID named was a message."""
        for low, high in ranges_of(uids, 0):
            gone = high - low + 1
            self.exists = max(0, self.exists - gone)
            self.gone += gone
            self.last = 0 if low <= self.last <= high else self.last
            # Another session may have judged more than this one has heard of: then some are looked at again, which does no harm.
            self.judged = max(0, self.judged - max(0, min(high, self.known.watermark) - low + 1))
            kept = {}
            for number, uid in self.numbers.items():
                if int(uid) > high:
                    kept[number - gone] = uid
                elif int(uid) < low:
                    kept[number] = uid
            self.numbers = kept


def mailbox_name(octets: bytes) -> str:
    """One name for a mailbox, in modified UTF-7, whether the client names it so or in UTF-8 (RFC 6855 3)."""
    text = octets.decode("utf-8", "replace")
    text = text if text.isascii() else encode(text).decode("ascii")
    return "INBOX" if text.upper() == "INBOX" else text
