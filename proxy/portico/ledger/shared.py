"""The memory of annotations in Redis, for several machines.

Rule of this file: as SqliteLedger, with the same promises; each change is one Lua script, whole or not at all. Sessions wait while it is
asked, so it is asked with little patience, and not at all for a while after it has not answered; then everything raises LedgerAway, and
ledger.safe knows what to do with that. Who is about to tell sizes locks the mailbox, for at most two seconds: two machines tell the same.

    <prefix>:l:<account>                          hash: "known", and "s:<name>" for subscriptions
    <prefix>:l:<account>:<name>                   the newest UIDVALIDITY
    <prefix>:l:<account>:<name>:<validity>:m      hash: w (watermark), a:<uid> ("octets|annotation", or empty), o (octets of all)
    <prefix>:l:<account>:<name>:<validity>:s      hash: sizes by UID (twice the octets, and one more for an estimate), e (edition), o
    <prefix>:l:<account>:<name>:<validity>:w      hash: what is told of transformed messages, by "uid:digest"
    <prefix>:d:<mailbox>:<uid>:<digest>           a transformed message, compressed
    <prefix>:k:<mailbox>                          the lock of its sizes
"""

from __future__ import annotations

import json
import secrets
import time
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote
from weakref import WeakValueDictionary

from portico.config.redis_library import redis_client
from portico.config.sections.shared import Shared
from portico.config.units import HOURS, SECONDS
from portico.ledger.ledger import _from_text, _octets, _text, _to_text
from portico.session.annotations.annotation import Annotation, Known, Located, Mailbox, Told, Whole
from portico.session.sizes.sizes import Sizes

if TYPE_CHECKING:
    from redis import Redis

_DAYS: Final = 24 * HOURS
REMEMBERED: Final = int(400 * _DAYS)
"""Since a mailbox was looked at last."""
_KEPT: Final = int(30 * _DAYS)
"""A transformed message; then it is transformed again when it is asked for."""
_MOST_PATIENCE: Final = 0.25 * SECONDS
"""All sessions of the process wait."""
_REST: Final = 5 * SECONDS
_LOCKED: Final = 2 * SECONDS
_PIECE: Final = 1000

_WHOLE: Final = "local function whole(n) if n == 0 then return '0' end return string.format('%.0f', n) end\n"
"""Lua has no integers: nothing would be ``-0``, and many octets ``1e+15``."""
_NEWEST: Final = """
local newest = tonumber(redis.call('GET', KEYS[1]) or 0)
local mine = tonumber(ARGV[1])
if newest < mine then
  if newest > 0 then redis.call('DEL', ARGV[3] .. newest .. ':m', ARGV[3] .. newest .. ':s', ARGV[3] .. newest .. ':w') end
  redis.call('SET', KEYS[1], mine)
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
local function put(field, octets, data)
  if redis.call('HSETNX', KEYS[2], field, data) == 1 then redis.call('HINCRBY', KEYS[2], 'o', octets) end
end
"""
"""KEYS: the newest UIDVALIDITY, the hash that is changed. ARGV: ours, seconds to live, the beginning of the mailbox's keys."""
_END: Final = "redis.call('EXPIRE', KEYS[2], ARGV[2])\n"
_JUDGED: Final = (
    _NEWEST
    + """
redis.call('HSET', KEYS[3], 'known', 1) redis.call('EXPIRE', KEYS[3], ARGV[2])
local before = tonumber(redis.call('HGET', KEYS[2], 'w') or 0)
if tonumber(ARGV[4]) > before then redis.call('HSET', KEYS[2], 'w', ARGV[4]) end
for i = 5, #ARGV, 3 do
  if before == 0 or tonumber(ARGV[i]) > before then put('a:' .. ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
end
"""
    + _END
)
_JUDGED_ONE: Final = (
    _NEWEST
    + "redis.call('HSET', KEYS[3], 'known', 1) redis.call('EXPIRE', KEYS[3], ARGV[2])\nput('a:' .. ARGV[4], ARGV[5], ARGV[6])\n"
    + _END
    + "return redis.call('HGET', KEYS[2], 'a:' .. ARGV[4])"
)
_REMOVED: Final = (
    _WHOLE
    + """
local made = 0
for i = 2, #ARGV do
  local data = redis.call('HGET', KEYS[1], 'a:' .. ARGV[i])
  if data then
    redis.call('HINCRBY', KEYS[1], 'o', whole(-tonumber(string.match(data, '^(%d+)|') or 0)))
    if ARGV[1] == 'forget' then redis.call('HSET', KEYS[1], 'a:' .. ARGV[i], '') else redis.call('HDEL', KEYS[1], 'a:' .. ARGV[i]) end
    made = made + 1
  end
end
return made
"""
)
_CHANGED: Final = "if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end return 0"
_SIZES: Final = (
    _WHOLE
    + _NEWEST
    + """
if ARGV[4] ~= '' and redis.call('GET', KEYS[3]) ~= ARGV[4] then return redis.error_reply('the lock was lost') end
for i = 5, #ARGV, 2 do
  local size = tonumber(ARGV[i + 1])
  if redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) == 1 and size % 2 == 1 then
    redis.call('HINCRBY', KEYS[2], 'o', whole((size - 1) / 2))
  end
end
local edition = #ARGV > 4 and redis.call('HINCRBY', KEYS[2], 'e', 1) or tonumber(redis.call('HGET', KEYS[2], 'e') or 0)
"""
    + _END
    + "if ARGV[4] ~= '' then redis.call('DEL', KEYS[3]) end\nreturn edition"
)
_SIZES_GONE: Final = (
    _WHOLE
    + """
for i = 1, #ARGV do
  local size = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0)
  if size % 2 == 1 then redis.call('HINCRBY', KEYS[1], 'o', whole(-(size - 1) / 2)) end
  redis.call('HDEL', KEYS[1], ARGV[i])
end
return 0
"""
)


class LedgerAway(Exception):
    """Redis does not answer, or not as it should."""


class RedisLedger:
    """See session.annotations.annotation.Ledger, session.sizes.sizes.SizesLedger. `longest`: seconds for an answer, whatever the settings
    say. Raises SettingsError without redis-py."""

    def __init__(self, settings: Shared, clock: Callable[[], float] = time.monotonic, *, longest: float = _MOST_PATIENCE) -> None:
        patience = min(settings.patience, longest)
        self._redis: Redis = redis_client(settings, socket_timeout=patience, socket_connect_timeout=patience)
        import redis

        self._errors: Final = (redis.RedisError, OSError)
        self._patience = patience
        self._prefix = settings.prefix
        self._clock = clock
        self._until = 0.0
        self._scripts: dict[str, Any] = {}
        self._sizes: WeakValueDictionary[Mailbox, Sizes] = WeakValueDictionary()
        self._locked: tuple[Sizes, str] | None = None
        """Sizes that are being told, and the word of the lock."""

    def close(self) -> None:
        self._redis.close()

    # -- Redis

    def _safely(self, step: Callable[[], Any]) -> Any:
        if self._clock() < self._until:
            raise LedgerAway("Redis was away a moment ago")
        try:
            return step()
        except self._errors as error:
            self._until = self._clock() + _REST
            raise LedgerAway(f"Redis: {type(error).__name__}") from None

    def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        known = self._scripts.get(script)
        if known is None:
            known = self._scripts[script] = self._redis.register_script(script)
        return self._safely(lambda: known(keys=list(keys), args=list(arguments)))

    def _read(self, command: str, key: str, *fields: str) -> Any:
        """And it lives on for as long as if it was new."""

        def step() -> Any:
            pipe = self._redis.pipeline(transaction=False)
            pipe.execute_command(command, key, *fields)  # type: ignore[no-untyped-call]
            pipe.expire(key, REMEMBERED)
            return pipe.execute()[0]

        return self._safely(step)

    def _account(self, account: str) -> str:
        return f"{self._prefix}:l:{quote(account, safe='')}"

    def _newest(self, account: str, name: str) -> str:
        return f"{self._account(account)}:{quote(name, safe='')}"

    def _key(self, mailbox: Mailbox, kind: str) -> str:
        return f"{self._newest(mailbox.account, mailbox.name)}:{mailbox.uid_validity}:{kind}"

    def _change(self, script: str, mailbox: Mailbox, kind: str, third: str, arguments: Sequence[Any]) -> Any:
        newest = self._newest(mailbox.account, mailbox.name)
        return self._run(script, (newest, self._key(mailbox, kind), third), (mailbox.uid_validity, REMEMBERED, f"{newest}:", *arguments))

    # -- annotations

    def knows(self, account: str) -> bool:
        return bool(self._read("HEXISTS", self._account(account), "known"))

    def known(self, mailbox: Mailbox) -> Known:
        found: dict[bytes, bytes] = _pairs(self._read("HGETALL", self._key(mailbox, "m")))
        made: dict[str, Annotation] = {}
        passed: set[str] = set()
        for field, data in found.items():
            if field.startswith(b"a:"):
                uid = field[2:].decode()
                if data:
                    made[uid] = _from_text(data.partition(b"|")[2].decode())
                else:
                    passed.add(uid)
        return Known(int(found.get(b"w", 0)), made, frozenset(passed), any(each.whole for each in made.values()))

    def judged(self, mailbox: Mailbox, watermark: int, annotations: Mapping[str, Annotation | None]) -> Known:
        rows = [part for uid, made in annotations.items() for part in (uid, *_row(made))]
        self._change(_JUDGED, mailbox, "m", self._account(mailbox.account), (watermark, *rows))
        return self.known(mailbox)

    def judged_one(self, mailbox: Mailbox, uid: str, made: Annotation | None) -> Annotation | None:
        data: bytes = self._change(_JUDGED_ONE, mailbox, "m", self._account(mailbox.account), (uid, *_row(made)))
        return _from_text(data.partition(b"|")[2].decode()) if data else None

    def located(self, mailbox: Mailbox, uid: str, located: Located) -> None:
        key, field = self._key(mailbox, "m"), f"a:{uid}"
        data: bytes | None = self._read("HGET", key, field)
        if data:
            octets, _, text = data.partition(b"|")
            self._run(_CHANGED, (key,), (field, data, b"%b|%b" % (octets, _to_text(_from_text(text.decode()).at(located)).encode())))

    def gone(self, mailbox: Mailbox, uids: Collection[str]) -> None:
        self._run(_REMOVED, (self._key(mailbox, "m"),), ("gone", *uids))

    def forget(self, mailbox: Mailbox, uid: str) -> None:
        self._run(_REMOVED, (self._key(mailbox, "m"),), ("forget", uid))

    def growth(self, account: str, name: str) -> int:
        return self._sum(account, name, "m")

    def _sum(self, account: str, name: str, kind: str) -> int:
        newest = self._read("GET", self._newest(account, name))
        if newest is None:
            return 0
        return int(self._read("HGET", self._key(Mailbox(account, name, int(newest)), kind), "o") or 0)

    # -- transformed messages

    def keep(self, octets: int | None) -> None:
        """How much room there is, and who has to go when there is none, is for Redis to say (maxmemory)."""

    def show(self, mailbox: Mailbox, uid: str, made: Annotation, message: bytes, told: Told) -> None:
        assert made.whole is not None
        key, digest = self._key(mailbox, "w"), made.whole.digest
        data, texts = zlib.compress(message, 1), json.dumps([_text(each) for each in told])

        def step() -> None:
            pipe = self._redis.pipeline(transaction=True)
            pipe.hset(key, f"{uid}:{digest}", texts)
            pipe.expire(key, REMEMBERED)
            pipe.set(self._message(mailbox, uid, digest), data, ex=_KEPT)
            pipe.execute()

        self._safely(step)

    def _message(self, mailbox: Mailbox, uid: str, digest: str) -> str:
        return f"{self._prefix}:d:{self._key(mailbox, uid)}:{digest}"

    def told(self, mailbox: Mailbox, uid: str, whole: Whole) -> Told | None:
        found = self._read("HGET", self._key(mailbox, "w"), f"{uid}:{whole.digest}")
        return Told(*map(_octets, json.loads(found))) if found is not None else None

    def message(self, mailbox: Mailbox, uid: str, whole: Whole) -> bytes | None:
        found = self._safely(lambda: self._redis.get(self._message(mailbox, uid, whole.digest)))
        try:
            return zlib.decompress(found) if found is not None else None
        except zlib.error:
            return None  # as if there had been no room

    # -- sizes told

    def sizes(self, mailbox: Mailbox) -> Sizes:
        sizes = self._sizes.get(mailbox)
        if sizes is None:
            rows, edition = self._all_sizes(mailbox)
            self._sizes[mailbox] = sizes = Sizes(rows)
            sizes.edition = edition
        return sizes

    def _all_sizes(self, mailbox: Mailbox) -> tuple[list[tuple[int, int, bool]], int]:
        found = _pairs(self._read("HGETALL", self._key(mailbox, "s")))
        rows = sorted((int(uid), int(size) >> 1, bool(int(size) & 1)) for uid, size in found.items() if uid.isdigit())
        return rows, int(found.get(b"e", 0))

    def begin_sizes(self, mailbox: Mailbox, sizes: Sizes) -> None:
        if self._locked is not None:
            if self._locked[0] is sizes:
                return
            self._locked = None  # its lock runs out by itself
        word, lock, ends = secrets.token_hex(8), self._lock(mailbox), self._clock() + self._patience
        while not self._safely(lambda: self._redis.set(lock, word, nx=True, px=int(_LOCKED * 1000))):
            if self._clock() > ends:
                raise LedgerAway("the sizes of a mailbox are locked for too long")
            time.sleep(0.002)
        if int(self._read("HGET", self._key(mailbox, "s"), "e") or 0) != sizes.edition:
            rows, sizes.edition = self._all_sizes(mailbox)
            sizes.add(rows)
        self._locked = sizes, word  # not before: after a failure nobody ends it, and the lock runs out by itself

    def keep_sizes(self, mailbox: Mailbox, sizes: Sizes) -> None:
        word = ""
        if self._locked is not None and self._locked[0] is sizes:
            word, self._locked = self._locked[1], None
        elif not sizes.new:
            return
        rows = [part for uid, octets, estimated in sizes.new for part in (uid, octets << 1 | estimated)]
        pieces = [rows[at : at + 2 * _PIECE] for at in range(0, len(rows), 2 * _PIECE)] or [[]]
        for number, piece in enumerate(pieces, 1):
            last = number == len(pieces)
            edition = int(self._change(_SIZES, mailbox, "s", self._lock(mailbox), (word if last else "", *piece)))
            if edition == sizes.edition + 1 or not piece:  # else another process has written, and is asked about at the next beginning
                sizes.edition = edition
        sizes.new.clear()

    def _lock(self, mailbox: Mailbox) -> str:
        return f"{self._prefix}:k:{self._key(mailbox, 's')}"

    def forget_sizes(self, mailbox: Mailbox, uids: Collection[int]) -> None:
        if uids:
            self._run(_SIZES_GONE, (self._key(mailbox, "s"),), sorted(uids))

    def estimated(self, account: str, name: str) -> int:
        return self._sum(account, name, "s")

    # -- subscriptions

    def subscriptions(self, account: str) -> dict[str, bool]:
        found = _pairs(self._read("HGETALL", self._account(account)))
        return {name[2:].decode(): on == b"1" for name, on in found.items() if name.startswith(b"s:")}

    def subscribe(self, account: str, name: str, on: bool) -> None:
        self._read("HSET", self._account(account), f"s:{name}", str(int(on)))


def _row(made: Annotation | None) -> tuple[int, str]:
    return (0, "") if made is None else (max(0, made.octets), f"{max(0, made.octets)}|{_to_text(made)}")


def _pairs(found: Any) -> dict[bytes, bytes]:
    return dict(found) if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
