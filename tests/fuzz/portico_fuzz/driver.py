"""Runs targets: by atheris where it is installed, else by seeds, mutations and chance.

Rule of this file: a run is repeated by its seed, a failure by its octets, which are made shorter, written to a file and printed.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import random
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from portico_fuzz.source import Source, mutated

_LONGEST = 4096
_SHORTENING_SECONDS = 5.0


@dataclass(slots=True, frozen=True)
class Target:
    name: str
    run: Callable[[bytes], None]
    seeds: Sequence[bytes] = ()
    """Octets to begin with; none: the octets are choices, and any will do."""


@dataclass(slots=True, frozen=True)
class Failure:
    target: str
    data: bytes
    error: str
    """The traceback."""


def failure_of(target: Target, data: bytes) -> BaseException | None:
    """What `data` breaks; None: nothing."""
    try:
        target.run(data)
    except Exception as error:
        return error
    return None


def generate(target: Target, chance: random.Random) -> bytes:
    """Octets for `target`."""
    if not target.seeds:
        return chance.randbytes(chance.choice((60, 300, 1000, _LONGEST)))
    data = chance.choice(target.seeds)
    if chance.random() < 0.3:
        other = chance.choice(target.seeds)
        data = data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]
    if chance.random() < 0.5:
        head = min(22, len(data))  # where a target's shape is chosen
        data = chance.randbytes(head) + data[head:]
    source = Source(chance.randbytes(200))
    for _ in range(chance.randrange(4)):
        data = mutated(source, data)
    return data[:_LONGEST]


def shortened(target: Target, data: bytes, error: BaseException, seconds: float = _SHORTENING_SECONDS) -> bytes:
    """`data` with all taken out that the same kind of failure does not need, as far as `seconds` go."""
    kind, place = type(error), _place(error)
    end = time.monotonic() + seconds
    size = max(1, len(data) // 2)
    while size and time.monotonic() < end:
        at = 0
        while at < len(data) and time.monotonic() < end:
            shorter = data[:at] + data[at + size :]
            other = failure_of(target, shorter)
            if other is not None and type(other) is kind and _place(other) == place:
                data = shorter
            else:
                at += size
        size //= 2
    return data


def _place(error: BaseException) -> tuple[str, int | None]:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return frame.filename, frame.lineno


def by_chance(target: Target, seconds: float, seed: int) -> tuple[int, Failure | None]:
    """How many inputs were tried in `seconds`, ten at least, and the first failure."""
    chance = random.Random(f"{seed} {target.name}")
    end = time.monotonic() + seconds
    count = 0
    while count < 10 or time.monotonic() < end:
        data = generate(target, chance)
        count += 1
        error = failure_of(target, data)
        if error is not None:
            data = shortened(target, data, error)
            last = failure_of(target, data) or error
            return count, Failure(target.name, data, "".join(traceback.format_exception(last)))
    return count, None


def by_atheris(target: Target, seconds: float, seed: int, directory: Path) -> bool:
    """Coverage-guided, in a process of its own because atheris never returns. True: nothing was found."""
    atheris = importlib.import_module("atheris")

    corpus = directory / "corpus" / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    for data in target.seeds:
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    child = os.fork()
    if child == 0:
        options = [
            f"-max_total_time={max(1, int(seconds))}",
            f"-seed={seed + 1}",
            f"-artifact_prefix={directory}/{target.name}-",
            "-max_len=4096",
        ]
        atheris.instrument_all()
        atheris.Setup(["fuzz", str(corpus), *options], target.run)
        atheris.Fuzz()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def keep(failure: Failure, directory: Path) -> Path:
    """Write the octets of a failure to a file."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{failure.target}-{hashlib.sha256(failure.data).hexdigest()[:12]}"
    path.write_bytes(failure.data)
    return path
