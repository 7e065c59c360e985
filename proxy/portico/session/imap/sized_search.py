"""SEARCH, SORT and THREAD by the sizes that were told.

Rule of this file: jobs of imap.sized, and what a server is asked in place of a condition by size, which it would judge by true sizes:
``LARGER n`` becomes those that were told to be larger, and of all others those that the server finds so. Where that makes a command longer
than servers take, a SEARCH is asked in several, each for some of the UIDs; what cannot be asked so is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from portico.errors import PeerError
from portico.session.events import MAIN
from portico.session.imap.questions import in_pieces, numbers_in
from portico.session.imap.steps import Ask, Done, Forward, Job, Say
from portico.session.sizes.sizes import MOST_UID, Sizes
from portico.wire.fetch import sequence_set
from portico.wire.imap import CommandLine, parse_fetch
from portico.wire.search import SizeKey, size_keys

_LINE: Final = 8000
"""Octets of a command that every server takes (RFC 7162 4)."""
_LONG: Final = 60_000
"""Those of one that most take, where it cannot be asked in several."""
_KEYS: Final = 20
"""Conditions by size in one command."""
_WINDOW: Final = 300
"""Messages told of that one of several SEARCHes names: in two sets, ten digits each."""
_SORT: Final = re.compile(rb" *\( *(REVERSE +)?SIZE *([^()]*)\)", re.IGNORECASE)
_RETURN: Final = re.compile(rb" *RETURN +\(([^()]*)\) *", re.IGNORECASE)
_COUNTED: Final = frozenset([b"MIN", b"MAX", b"ALL", b"COUNT"])
_TOO_MUCH: Final = Done(b"NO [LIMIT] Too much to be searched by size.")

Known = Sequence[tuple[int, int]]
"""UID and size told, rising."""


def job(head: CommandLine, arguments: bytes, sizes: Callable[[], Sizes | None]) -> Job | None:
    """What is done for a command that may search or sort by size; None: it does not. `sizes`: of the mailbox, when it is carried out."""
    sorts = head.name == "SORT" and _SORT.match(arguments) is not None
    keys = size_keys(arguments, skip={"SEARCH": 0, "SORT": 2, "THREAD": 2}[head.name])
    if not sorts and not keys:
        return None
    return _job(head, arguments, keys, sizes, sorts=sorts)


def _job(head: CommandLine, arguments: bytes, keys: list[SizeKey], sizes: Callable[[], Sizes | None], *, sorts: bool) -> Job:
    yield from ()
    told = sizes()
    if told is None or not told.estimated:
        return Forward(MAIN, arguments)
    known = [(uid, octets) for uid, octets, _ in told.each()] if keys else []
    if len(keys) > _KEYS:
        return _TOO_MUCH
    changed = written(arguments, keys, known)
    if head.name == "SEARCH" and len(changed) > max(_LINE, len(arguments)):
        return (yield from _in_windows(head, arguments, keys, known, changed))
    if len(changed) > max(_LONG, len(arguments)):
        return _TOO_MUCH
    return (yield from _sorted(head, changed, told)) if sorts else Forward(MAIN, changed)


def written(arguments: bytes, keys: Sequence[SizeKey], known: Known) -> bytes:
    """The arguments with the conditions as the server is to judge them."""
    every = sequence_set(uid for uid, _ in known)
    made, pos = b"", 0
    for key in keys:
        inside = sequence_set(uid for uid, octets in known if key.holds(octets))
        condition = arguments[key.start : key.end]
        if every:
            condition = b"(%b NOT UID %b)" % (condition, every)
        if inside:
            condition = b"(OR %b UID %b)" % (condition, inside)
        made += arguments[pos : key.start] + condition
        pos = key.end
    return made + arguments[pos:]


def _in_windows(head: CommandLine, arguments: bytes, keys: list[SizeKey], known: Known, changed: bytes) -> Job:
    """Several SEARCHes in place of one."""
    options = _RETURN.match(arguments)
    wanted = frozenset(options[1].upper().split()) if options is not None else frozenset()
    if not wanted <= _COUNTED or b"MODSEQ" in arguments.upper() or len(keys) > 4:
        return _TOO_MUCH if len(changed) > _LONG else Forward(MAIN, changed)
    start = options.end() if options is not None else 0
    rest = [key._replace(start=key.start - start, end=key.end - start) for key in keys]
    found: set[int] = set()
    extended = options is not None
    low, step = 1, _WINDOW // len(keys)
    for at in range(0, len(known), step):
        some = known[at : at + step]
        high = some[-1][0] if at + step < len(known) else MOST_UID
        command = b"%bSEARCH %b UID %d:%d" % (b"UID " if head.uid else b"", written(arguments[start:], rest, some), low, high)
        low = high + 1
        got = yield Ask(MAIN, command, frozenset(["SEARCH", "ESEARCH"]))
        if not got.ok:
            return Done(got.rest or b"NO [UNAVAILABLE] The server closed the connection.")
        extended = extended or any(raw[2:9].upper() == b"ESEARCH" for raw in got.responses)
        found.update(numbers_in(got.responses, b"SEARCH"))
    ordered = sorted(found)
    if extended:
        yield Say(_extended(head, wanted or frozenset([b"ALL"]), ordered))
    else:
        yield Say(b"* SEARCH%b\r\n" % b"".join(b" %d" % each for each in ordered))
    return Done(b"OK Search completed.")


def _extended(head: CommandLine, wanted: frozenset[bytes], found: list[int]) -> bytes:
    """RFC 9051 7.3.4."""
    said = b'* ESEARCH (TAG "%b")%b' % (head.tag, b" UID" if head.uid else b"")
    if found and b"MIN" in wanted:
        said += b" MIN %d" % found[0]
    if found and b"MAX" in wanted:
        said += b" MAX %d" % found[-1]
    if found and b"ALL" in wanted:
        said += b" ALL " + sequence_set(found)
    return said + (b" COUNT %d" % len(found) if b"COUNT" in wanted else b"") + b"\r\n"


def _sorted(head: CommandLine, arguments: bytes, told: Sizes) -> Job:
    """RFC 5256: the server sorts by what comes behind SIZE; it is not asked for sizes that have been told."""
    program = _SORT.match(arguments)
    assert program is not None
    others = program[2].strip()
    command = b"%bSORT (%b)%b" % (b"UID " if head.uid else b"", others or b"ARRIVAL", arguments[program.end() :])
    got = yield Ask(MAIN, command, frozenset(["SORT"]))
    found = numbers_in(got.responses, b"SORT")
    if not got.ok or not found:
        for raw in got.responses:
            yield Say(raw)
        return Done(got.rest or b"NO [UNAVAILABLE] The server closed the connection.")
    if not others:
        found.sort()  # equal ones stand in the order of the mailbox
    uids = {each: each for each in found} if head.uid else {}
    true: dict[int, int] = {}

    def take(raw: bytes) -> None:
        try:
            response = parse_fetch(raw)
        except PeerError:
            return
        if response.uid is None:
            return
        if not head.uid:
            uids[response.number] = response.uid
        size = response.value("RFC822.SIZE")
        if size is not None and size.isdigit() and len(size) < 20:
            true[response.uid] = int(size)

    fetch = frozenset(["FETCH"])
    if not head.uid:
        for part in in_pieces(sequence_set(sorted(found))):
            yield Ask(MAIN, b"FETCH %b (UID)" % part, fetch, take=take)
    unknown = [each for each in sorted(found) if each in uids and told.get(uids[each]) is None]
    for part in in_pieces(sequence_set(unknown)):
        yield Ask(MAIN, b"%bFETCH %b (UID RFC822.SIZE)" % (b"UID " if head.uid else b"", part), fetch, take=take)

    def size_of(each: int) -> int:
        uid = uids.get(each, 0)
        known = told.get(uid)
        return known.octets if known is not None else true.get(uid, 0)

    sign = -1 if program[1] else 1
    ordered = sorted(found, key=lambda each: sign * size_of(each))
    yield Say(b"* SORT " + b" ".join(b"%d" % each for each in ordered) + b"\r\n")
    return Done(got.rest)
