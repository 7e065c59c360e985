"""What an operator asks of all machines that share a Redis: the same question to each of them.

Rule of this file: nothing is kept or counted while nobody asks. A question is a message to each machine that has a lease (gate.shared); it
answers into a list that nobody else knows, and that lives for half a minute. Whoever can write to that Redis can ask, so only what is
listed here can be asked, and what an answer says is for others to doubt.

    <prefix>:asked:<machine>    channel: {question, machine, operator, verb, arguments}
    <prefix>:a:<question>       list: {id, machine, answer, error, left_out}, compressed
"""

from __future__ import annotations

import asyncio
import json
import secrets
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from portico.config.redis_library import redis_client
from portico.config.sections.shared import Shared
from portico.config.units import KIB, MIB, SECONDS
from portico.errors import PorticoError

if TYPE_CHECKING:
    from redis.asyncio import Redis

ASKED: Final = frozenset(("who", "show", "kick"))
_PATIENCE: Final = 5 * SECONDS
"""A machine that has not answered by then is left out, by name."""
_BEAT: Final = 5 * SECONDS
"""Where nothing is heard for so long, Redis is asked whether it is there."""
_AGAIN: Final = 2 * SECONDS
_LIVES: Final = 30
"""Seconds after which an answer that nobody has fetched is gone."""
_MOST: Final = 50_000
"""Sessions in one answer; the rest is counted."""
_AT_ONCE: Final = 8
"""Questions that are answered at a time; more are not answered."""
_QUESTION: Final = 64 * KIB
_ANSWER: Final = 64 * MIB

Answer = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
Told = Callable[[Mapping[str, Any]], None]


class Machines:
    """This machine among the others. `machine`: its id in the commons. `answer(verb, arguments)` is what this machine says, also to others;
    `told` is called with {machine, operator, verb, arguments, ok, text} for each question of another one."""

    def __init__(self, settings: Shared, machine: str, answer: Answer, told: Told) -> None:
        self.machine: Final = machine
        self._settings = settings
        self._answer, self._told = answer, told
        # A connection that lay idle may have died meanwhile.
        self._redis: Redis = redis_client(
            settings, asynchronous=True, once_more=True, socket_timeout=_PATIENCE * 2, socket_connect_timeout=settings.patience
        )
        self._serving: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Machines {self.machine}>"

    def _key(self, *parts: str) -> str:
        return ":".join((self._settings.prefix, *parts))

    def start(self) -> None:
        """Answer from now on."""
        self._serving = asyncio.get_running_loop().create_task(self._serve())

    async def close(self) -> None:
        tasks = [*self._answering, *([self._serving] if self._serving is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._redis.aclose()

    # -- asking

    async def ask(self, verb: str, arguments: Mapping[str, Any], operator: str) -> list[dict[str, Any]]:
        """{machine, answer, error, left_out} of each, ours first, the others by name. A machine that does not answer has an `error`; where
        Redis does not, one without a name has."""
        ours, others = await asyncio.gather(self._said(verb, arguments), self._others(verb, arguments, operator))
        return [ours, *sorted(others, key=lambda each: str(each["machine"]))]

    async def _said(self, verb: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        said: dict[str, Any] = {"machine": name_of(self.machine), "answer": None, "error": "", "left_out": 0}
        try:
            said["answer"] = await self._answer(verb, arguments)
        except PorticoError as error:
            said["error"] = str(error) or "it cannot"
        return said

    async def _others(self, verb: str, arguments: Mapping[str, Any], operator: str) -> list[dict[str, Any]]:
        question = secrets.token_hex(16)
        asked = {"question": question, "machine": name_of(self.machine), "operator": operator, "verb": verb, "arguments": dict(arguments)}
        waiting: dict[str, str] = {}
        found: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(self._settings.patience * 4):
                for id in await self._with_lease():
                    if await self._redis.publish(self._key("asked", id), json.dumps(asked)):
                        waiting[id] = name_of(id)
                    else:
                        found.append(_silent(name_of(id)))
            async with asyncio.timeout(_PATIENCE + self._settings.patience):
                await self._collect(self._key("a", question), waiting, found)
        except Exception as error:  # whatever it was: ours are shown
            return [*found, *map(_silent, waiting.values()), _silent("", f"Redis does not answer: {type(error).__name__}")]
        return [*found, *map(_silent, waiting.values())]

    async def _with_lease(self) -> list[str]:
        """The ids of the other machines."""
        seconds, micros = await self._redis.time()
        ids = await self._redis.zrangebyscore(self._key("machines"), seconds + micros / 1e6, "+inf")
        return [name for name in (str(id, "utf-8", "replace") for id in ids if isinstance(id, bytes)) if name != self.machine]

    async def _collect(self, key: str, waiting: dict[str, str], found: list[dict[str, Any]]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _PATIENCE
        while waiting and (left := until - loop.time()) > 0:
            popped: Any = await self._redis.blpop([key], timeout=max(left, 0.05))
            if popped is None:
                break
            said = await asyncio.to_thread(_unpacked, popped[1])
            name = waiting.pop(str(said.get("id")), None)
            if name is not None:
                left_out, error = said.get("left_out"), said.get("error")
                found.append(
                    {
                        "machine": name,
                        "answer": said.get("answer"),
                        "error": error if isinstance(error, str) else "",
                        "left_out": left_out if isinstance(left_out, int) else 0,
                    }
                )

    # -- answering

    async def _serve(self) -> None:
        me = asyncio.current_task()
        while me is not None and not me.cancelling():  # redis-py may take a cancellation for a time-out of its own
            try:
                await self._listen(me)
            except Exception:  # the commons say that Redis is away
                await asyncio.sleep(_AGAIN)

    async def _listen(self, me: asyncio.Task[None]) -> None:
        async with self._redis.pubsub() as ears:
            await ears.subscribe(self._key("asked", self.machine))
            pinged = False
            while not me.cancelling():
                message = await ears.get_message(timeout=_BEAT)
                if message is not None:
                    pinged = False
                    if message["type"] == "message":
                        self._heard(message["data"])
                elif pinged:
                    raise TimeoutError
                else:
                    await ears.ping()
                    pinged = True

    def _heard(self, data: bytes) -> None:
        if len(data) > _QUESTION or len(self._answering) >= _AT_ONCE:
            return
        try:
            asked = json.loads(data)
            question, verb, arguments = asked["question"], asked["verb"], asked["arguments"]
        except (ValueError, KeyError, TypeError):
            return
        if not isinstance(question, str) or not isinstance(verb, str) or verb not in ASKED or not isinstance(arguments, dict):
            return
        task = asyncio.get_running_loop().create_task(self._reply(question, verb, arguments, asked))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _reply(self, question: str, verb: str, arguments: dict[str, Any], asked: Mapping[str, Any]) -> None:
        said = await self._said(verb, arguments)
        self._told(
            {
                "machine": str(asked.get("machine", "")),
                "operator": str(asked.get("operator", "")),
                "verb": verb,
                "arguments": [f"{name}={value}" for name, value in arguments.items()],
                "ok": not said["error"],
                **({"text": said["error"]} if said["error"] else {}),
            }
        )
        key = self._key("a", question)
        packed = await asyncio.to_thread(_packed, {"id": self.machine, **said})
        try:
            async with asyncio.timeout(self._settings.patience * 4):
                pipe = self._redis.pipeline(transaction=True)
                pipe.rpush(key, packed)
                pipe.expire(key, _LIVES)
                await pipe.execute()
        except Exception:
            return  # who asked says that we do not answer


def name_of(machine: str) -> str:
    """What people call it: an id without what makes it one."""
    return machine.rpartition("-")[0] or machine


def _silent(name: str, error: str = "it does not answer") -> dict[str, Any]:
    return {"machine": name, "answer": None, "error": error, "left_out": 0}


def _packed(said: dict[str, Any]) -> bytes:
    answer = said["answer"]
    if isinstance(answer, list) and len(answer) > _MOST:
        said = {**said, "answer": answer[:_MOST], "left_out": len(answer) - _MOST}
    return zlib.compress(json.dumps(said).encode(), 1)


def _unpacked(data: bytes) -> dict[str, Any]:
    """Empty: it is no answer."""
    try:
        said = json.loads(zlib.decompressobj().decompress(data, _ANSWER))
    except (ValueError, zlib.error):
        return {}
    return said if isinstance(said, dict) else {}
