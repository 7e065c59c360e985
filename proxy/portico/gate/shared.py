"""The commons of several machines, in Redis or Valkey.

Rule of this file: the commons of this machine (LocalCommons) decide first, and Redis adds what the others know; where Redis does not answer
in time nobody waits, and nobody is refused for it. In Redis each machine has one hash that mirrors its own counts, and lives as long as the
machine says so: one that died gives everything back. What is asked and told goes through one queue, in its order, in pipelines; each
question is one Lua script, so that many logins at once cannot pass a limit together. A password is there only as a keyed digest.

    <prefix>:machines       sorted set: machines by the time (of Redis) at which their lease ends
    <prefix>:m:<machine>    hash: n:<network>, u:<user>, b:<user>|<network>: sessions of this machine
    <prefix>:p:<network>    hash: level, since, same: as gate.penalties has it
    <prefix>:r:<digest>     a password that was right
    <prefix>:holds          hash: users that are held, and until when
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from portico.config.redis_library import redis_client
from portico.config.sections.shared import Shared
from portico.config.units import HOURS, MINUTES, SECONDS
from portico.gate.commons import Bounds, Claimed, LocalCommons
from portico.gate.limits import Ticket
from portico.gate.penalties import SAME

if TYPE_CHECKING:
    from redis.asyncio import Redis

_TOGETHER: Final = 500
"""Questions in one pipeline."""
_AGAIN: Final = 2 * SECONDS
"""A Redis that was away is tried again."""
_ANEW: Final = 10 * MINUTES
"""The mirror is written anew, should it have come to differ."""
_PIECE: Final = 2000
"""Fields in one HSET: all of Redis waits for it."""
_MIRRORED: Final = 10_000
"""Users that are written in a second at least."""
_RIGHT: Final = 7 * 24 * HOURS
_HELD: Final = 30 * 24 * HOURS
"""How long the last word on right passwords, and on holds, is kept."""

_NOW: Final = "local t = redis.call('TIME') local now = tonumber(t[1]) + tonumber(t[2]) / 1000000\n"
TAKE: Final = (
    _NOW
    + """
local machines = redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf')
for i = 2, #ARGV, 2 do
  local total = 0
  for _, machine in ipairs(machines) do
    total = total + tonumber(redis.call('HGET', ARGV[1] .. machine, ARGV[i]) or 0)
  end
  if total >= tonumber(ARGV[i + 1]) then return i / 2 end
end
if redis.call('EXISTS', KEYS[2]) == 1 then
  for i = 2, #ARGV, 2 do redis.call('HINCRBY', KEYS[2], ARGV[i], 1) end
end
return 0
"""
)
"""KEYS: machines, our hash. ARGV: the beginning of the machines' keys, then fields with their limits. Returns which one is full; 0: taken.
A hash that is not there is made by nobody but the mirror."""
GIVE: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for i = 1, #ARGV do
  local left = redis.call('HINCRBY', KEYS[1], ARGV[i], -1)
  if left <= 0 then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return 0
"""
_FORGET: Final = (
    _NOW
    + """
local first, longest, step = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local level = tonumber(redis.call('HGET', KEYS[1], 'level') or 0)
local since = tonumber(redis.call('HGET', KEYS[1], 'since') or now)
local passed = math.floor((now - since) / step)
if passed > 0 then level = math.max(0, level - passed) since = since + passed * step end
"""
)
LOOK: Final = _FORGET + "return {level, redis.call('EXISTS', KEYS[2])}"
"""KEYS: the network's penalty, the password that may have been right. Returns the level, and 1 where it was."""
WRONG: Final = (
    _FORGET
    + """
redis.call('DEL', KEYS[2])
if first <= 0 then return level end
local same = level > 0 and redis.call('HGET', KEYS[1], 'same') or ''
if ARGV[4] ~= '' and string.find(same, ARGV[4], 1, true) then return level end
if ARGV[4] ~= '' then same = string.sub(same .. ' ' .. ARGV[4], -tonumber(ARGV[5])) end
if first * 2 ^ (level - 1) < longest then level = level + 1 end
redis.call('HSET', KEYS[1], 'level', level, 'since', tostring(now), 'same', same)
redis.call('PEXPIRE', KEYS[1], math.ceil(step * 1000 * (level + 1)))
return level
"""
)
BEAT: Final = (
    _NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.ceil(tonumber(ARGV[2]) * 1000))
redis.call('HSETNX', KEYS[3], '', ARGV[4])
redis.call('PEXPIRE', KEYS[3], tonumber(ARGV[3]) * 1000)
return {redis.call('PEXPIRE', KEYS[2], math.ceil(tonumber(ARGV[2]) * 1000)), redis.call('HGETALL', KEYS[3])}
"""
)
"""KEYS: machines, our hash, holds. Returns whether our hash is there, and who is held; the field without a name is a word that stays as
long as Redis forgets nothing."""
_SCRIPTS: Final = {"take": TAKE, "give": GIVE, "look": LOOK, "wrong": WRONG, "beat": BEAT}


@dataclass(slots=True)
class _Step:
    """A script with its keys and arguments, or a command (`keys` None)."""

    script: str
    keys: Sequence[str] | None
    arguments: Sequence[Any]
    answer: asyncio.Future[Any] | None = field(default=None, repr=False)


class SharedCommons(LocalCommons):
    """See gate.commons.Commons. `failed(text)` and `well()` are told once when Redis goes away and comes back.

    It begins to work when it is first used, in the event loop that uses it; `close` ends it. Raises SettingsError without redis-py.
    """

    def __init__(
        self,
        settings: Shared,
        failed: Callable[[str], None],
        well: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        most: int = 100_000,
        machine: str = "",
    ) -> None:
        super().__init__(clock, most=most)
        self.machine: Final = machine or f"{settings.machine or socket.gethostname()[:40]}-{secrets.token_hex(4)}"
        self._settings = settings
        self._failed, self._well = failed, well
        self._redis: Redis = redis_client(
            settings, asynchronous=True, socket_timeout=settings.patience, socket_connect_timeout=settings.patience, decode_responses=True
        )
        self._now = clock
        self._queue: asyncio.Queue[_Step] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._names: dict[str, str] = {}
        """Digests of the scripts, as Redis knows them."""
        self._away = False
        self._due = self._anew = 0.0
        """When the lease is renewed, and the mirror written anew; 0: at once."""
        self._memory = ""
        """Another word than before: Redis has forgotten."""
        self._said: set[str] = set()
        """Holds that Redis has, as far as we know."""
        self._released: set[str] = set()
        """Users who were released while Redis was away, and of whom it has not been told."""

    def __repr__(self) -> str:
        return f"<SharedCommons {self.machine}{' away' if self._away else ''} {self.counts.sessions} sessions>"

    def _key(self, *parts: str) -> str:
        return ":".join((self._settings.prefix, *parts))

    # -- as Commons

    def arrive(self, session: str, network: str, bounds: Bounds) -> str | Awaitable[str | None] | None:  # type: ignore[override]
        before = self._tickets.get(session)
        gone = _fields(before)
        word = super().arrive(session, network, bounds)
        if gone:
            self._give(gone)
        if word is not None or not network:
            return word
        return self._arrive(session, f"n:{network}", int(bounds["sessions_per_address"]))

    async def _arrive(self, session: str, taken: str, most: int) -> str | None:
        if not await self._ask("take", self._own(), (self._key("m", ""), taken, most)):
            return None
        super().leave(session)
        return "limit_address"

    def claim(  # type: ignore[override]
        self, session: str, user: str, network: str, exempt: bool, digest: str, bounds: Bounds
    ) -> Claimed | Awaitable[Claimed]:
        before = self._tickets.get(session)
        gone = _fields(before, network=False)
        said = super().claim(session, user, network, exempt, digest, bounds)
        if gone:
            self._give(gone)
        if said["refusal"] is not None:
            return said
        ticket = self._tickets[session]
        late = [(f"n:{ticket.network}", 1 << 53)] if before is None and ticket.network else []
        return self._claim(session, ticket, late, "" if exempt else network, digest, bounds, said)

    async def _claim(
        self, session: str, ticket: Ticket, late: list[tuple[str, int]], network: str, digest: str, bounds: Bounds, said: Claimed
    ) -> Claimed:
        limits = (int(bounds["sessions_per_user"]), int(bounds["sessions_per_user_and_address"]))
        wanted = [*zip(_fields(ticket, network=False), limits, strict=False), *late]
        looked = self._looked(network, digest, bounds) if network else None
        full = await self._ask("take", self._own(), (self._key("m", ""), *(part for each in wanted for part in each))) if wanted else 0
        if looked is not None and (found := await looked):
            level, right = found
            shared = min(bounds["first"] * 2.0 ** (level - 1), bounds["longest"]) if level and bounds["first"] > 0 else 0.0
            said["delay"] = 0.0 if right and digest and self.penalties.believes(network) else max(said["delay"], shared)
        if full:
            super().unclaim(session)
            return {"refusal": ("limit_user", "limit_user_address")[full - 1], "delay": 0.0, "held": False}
        return said

    def _looked(self, network: str, digest: str, bounds: Bounds) -> asyncio.Future[Any]:
        return self._ask("look", (self._key("p", network), self._key("r", digest or "-")), _penalty(bounds))

    def unclaim(self, session: str) -> None:
        gone = _fields(self._tickets.get(session), network=False)
        super().unclaim(session)
        if gone:
            self._give(gone)

    def leave(self, session: str) -> None:
        gone = _fields(self._tickets.get(session))
        super().leave(session)
        if gone:
            self._give(gone)

    def wrong(self, network: str, user: str, digest: str, bounds: Bounds) -> None:
        super().wrong(network, user, digest, bounds)
        if network:
            arguments = (*_penalty(bounds), digest, SAME * (len(digest) + 1))
            self._tell("wrong", (self._key("p", network), self._key("r", digest or "-")), arguments)

    def right(self, network: str, user: str, digest: str) -> None:
        super().right(network, user, digest)
        if digest:
            self._tell("SET", None, (self._key("r", digest), "1", "EX", int(_RIGHT)))

    def hold(self, user: str, seconds: float | None = None) -> None:
        super().hold(user, seconds)
        self._released.discard(user.casefold())
        self._push_hold(user, None if seconds is None else time.time() + seconds)

    def release(self, user: str) -> bool:
        known = super().release(user)
        self._said.discard(user.casefold())
        if self._away:
            self._released.add(user.casefold())
        self._unhold(user.casefold())
        return known

    def _unhold(self, name: str) -> None:
        self._tell("HDEL", None, (self._key("holds"), name))

    def _push_hold(self, user: str, until: float | None) -> None:
        self._tell("HSET", None, (self._key("holds"), user.casefold(), json.dumps({"user": user, "until": until})))

    # -- the queue

    def _own(self) -> tuple[str, str]:
        return self._key("machines"), self._key("m", self.machine)

    def _give(self, fields: Sequence[str]) -> None:
        self._tell("give", (self._key("m", self.machine),), fields)

    def _tell(self, script: str, keys: Sequence[str] | None, arguments: Sequence[Any]) -> None:
        self._begin()
        if not self._away:  # what is told meanwhile is in our own counts, from which the mirror is made
            self._queue.put_nowait(_Step(script, keys, arguments))

    def _ask(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> asyncio.Future[Any]:
        """What the script returns; None where Redis does not answer."""
        self._begin()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._away:
            answer.set_result(None)
        else:
            self._queue.put_nowait(_Step(script, keys, arguments, answer))
        return answer

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve())

    def begin(self) -> None:
        """Have a lease also before the first session comes."""
        self._begin()

    async def close(self) -> None:
        """Give back what this machine has, and end."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._let_go([])
            try:
                async with asyncio.timeout(self._settings.patience):
                    await self._redis.delete(self._key("m", self.machine))
                    await self._redis.zrem(self._key("machines"), self.machine)
            except Exception:
                self._away = True  # the lease ends by itself
        await self._redis.aclose()

    async def _serve(self) -> None:
        beat = min(_AGAIN, self._settings.lease / 4)
        me = asyncio.current_task()
        while me is not None and not me.cancelling():  # redis-py may take a cancellation for a time-out of its own
            steps: list[_Step] = []
            try:
                async with asyncio.timeout(max(0.0, self._due - self._now())):
                    steps.append(await self._queue.get())
            except TimeoutError:
                pass
            while len(steps) < _TOGETHER and not self._queue.empty():
                steps.append(self._queue.get_nowait())
            try:
                async with asyncio.timeout(self._settings.patience * 2 + len(self.counts.users) / _MIRRORED):
                    if self._now() >= self._due:
                        self._due = self._now() + beat
                        if await self._beat():
                            steps = self._left(steps)
                    if steps:
                        await self._carry_out(steps)
            except Exception as error:  # whatever it was: nobody stays outside for it
                self._fail(error, steps)

    async def _carry_out(self, steps: list[_Step]) -> None:
        from redis.exceptions import NoScriptError, ResponseError

        pipe = self._redis.pipeline(transaction=False)
        for step in steps:
            if step.keys is None:
                pipe.execute_command(step.script, *step.arguments)
            else:
                pipe.evalsha(self._names[step.script], len(step.keys), *step.keys, *step.arguments)
        said = await pipe.execute(raise_on_error=False)
        for one in said:
            if isinstance(one, NoScriptError):  # it was restarted
                self._due = self._anew = 0.0
            elif isinstance(one, ResponseError):
                raise one
        for step, one in zip(steps, said, strict=True):
            if step.answer is not None and not step.answer.done():
                step.answer.set_result(None if isinstance(one, Exception) else one)

    async def _beat(self) -> bool:
        """Renew the lease and learn who is held. True: the mirror was written anew, with all that was waiting to be taken and given."""
        if self._anew <= self._now():
            self._names = {name: await self._redis.script_load(text) for name, text in _SCRIPTS.items()}
        keys = (*self._own(), self._key("holds"))
        more = (self.machine, self._settings.lease, int(_HELD), secrets.token_hex(8))
        there, held = await self._redis.evalsha(self._names["beat"], 3, *keys, *more)
        anew = not there or self._anew <= self._now()
        if anew:
            await self._mirror()
        if self._away:
            self._away = False
            self._well()
        told = dict(zip(held[::2], held[1::2], strict=True))
        memory = told.pop("")
        self._learn_holds(told, kept=memory == self._memory)
        self._memory = memory
        return anew

    async def _mirror(self) -> None:
        """Write our counts as they are now; what waits in the queue is in them."""
        counts, own = self.counts, self._key("m", self.machine)
        fields: dict[str, Any] = {"id": self.machine}
        fields |= {f"n:{network}": count for network, count in counts.networks.items()}
        fields |= {f"u:{user}": count for user, count in counts.users.items()}
        fields |= {f"b:{user}|{network}": count for (user, network), count in counts.both.items()}
        for step in self._left([self._queue.get_nowait() for _ in range(self._queue.qsize())]):
            self._queue.put_nowait(step)
        names = list(fields)
        pipe = self._redis.pipeline(transaction=False)
        pipe.delete(own)
        for begin in range(0, len(names), _PIECE):
            pipe.hset(own, mapping={name: fields[name] for name in names[begin : begin + _PIECE]})
        pipe.pexpire(own, int(self._settings.lease * 1000))
        await pipe.execute()
        self._anew = self._now() + _ANEW

    def _learn_holds(self, told: dict[str, str], *, kept: bool) -> None:
        """What others have held and released. `kept`: Redis has forgotten nothing, so what is not there was released."""
        ours = {str(hold["user"]).casefold(): hold for hold in self.holds()}
        now = time.time()
        for name, text in told.items():
            known = json.loads(text)
            until = known["until"]
            if name in self._released or (until is not None and until <= now):
                self._unhold(name)
            elif name not in ours:
                super().hold(known["user"], None if until is None else until - now)
        for name, hold in ours.items():
            if name in told:
                continue
            if kept and name in self._said:
                super().release(str(hold["user"]))
            else:
                left: Any = hold["seconds"]
                self._push_hold(str(hold["user"]), None if left is None else now + left)
        self._said = {str(hold["user"]).casefold() for hold in self.holds()}
        self._released.clear()

    def _fail(self, error: Exception, steps: list[_Step]) -> None:
        if not self._away:
            self._failed(f"Redis: {type(error).__name__}")
        self._away = True
        self._due, self._anew = self._now() + _AGAIN, 0.0
        while not self._queue.empty():
            steps.append(self._queue.get_nowait())
        self._released |= {step.arguments[1] for step in steps if step.script == "HDEL"}
        self._let_go(steps)

    def _left(self, steps: list[_Step]) -> list[_Step]:
        """What is still to be done when the mirror has been written: who waits for an answer is counted in it already, and asked about."""
        left: list[_Step] = []
        for step in steps:
            if step.script == "take":
                left += [_Step("give", (self._key("m", self.machine),), step.arguments[1::2]), step]
            elif step.script != "give":
                left.append(step)
        return left

    @staticmethod
    def _let_go(steps: Sequence[_Step]) -> None:
        for step in steps:
            if step.answer is not None and not step.answer.done():
                step.answer.set_result(None)


def _fields(ticket: Ticket | None, *, network: bool = True) -> list[str]:
    """What a session is counted under: its user first, then user and network, then its network."""
    if ticket is None:
        return []
    made = [f"u:{ticket.user}"] if ticket.user else []
    made += [f"b:{ticket.user}|{ticket.network}"] if ticket.user and ticket.network else []
    return made + ([f"n:{ticket.network}"] if network and ticket.network else [])


def _penalty(bounds: Bounds) -> tuple[float, float, float]:
    return bounds["first"], bounds["longest"], max(bounds["step"], 1.0)
