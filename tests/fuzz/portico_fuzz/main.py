"""The fuzzer from its options to its verdict.

Rule of this file: options in, exit code out: 0 nothing found, 1 something, 2 wrong options.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from portico_fuzz import careless, driver, mounted, session_targets, wire_targets
from portico_fuzz.driver import Target

TARGETS = (
    Target("reader", wire_targets.reader, wire_targets.STREAM_SEEDS),
    Target("skimmer", wire_targets.skimmer, wire_targets.STREAM_SEEDS),
    Target("syntax", wire_targets.syntax, wire_targets.SYNTAX_SEEDS),
    Target("sasl", wire_targets.mechanisms, wire_targets.SASL_SEEDS),
    Target("message", wire_targets.message, wire_targets.MESSAGE_SEEDS),
    Target("proxy_protocol", wire_targets.proxy_protocol, wire_targets.PROXY_SEEDS),
    Target("pop3_framing", wire_targets.pop3_framing, wire_targets.POP3_SEEDS),
    Target("imap", session_targets.imap),
    Target("pop3", session_targets.pop3),
    Target("watch", session_targets.watch),
    Target("pop3_watch", session_targets.pop3_watch),
    Target("careless", careless.careless),
    Target("mounted", mounted.mounted),
)
_DIRECTORY = Path(__file__).resolve().parents[3] / ".cache" / "fuzz"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/fuzz/run.py", description="Fuzz portico.wire and portico.session.")
    names = [target.name for target in TARGETS]
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together (default: %(default)s)")
    parser.add_argument("--target", choices=names, action="append", help="only this one; may be given again")
    parser.add_argument("--seed", type=int, help="to repeat a run by chance (default: a new one)")
    parser.add_argument("--engine", choices=("auto", "chance", "atheris"), default="auto", help="auto: atheris where it is installed")
    parser.add_argument("--replay", type=Path, help="a file that a failure was written to; needs one --target")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    targets = [target for target in TARGETS if not options.target or target.name in options.target]
    if options.replay is not None:
        if len(targets) != 1:
            print("--replay needs one --target", file=sys.stderr)
            return 2
        targets[0].run(options.replay.read_bytes())
        print("nothing is broken by these octets")
        return 0
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    guided = options.engine == "atheris" or (options.engine == "auto" and importlib.util.find_spec("atheris") is not None)
    print(f"seed {seed}, {'atheris' if guided else 'by chance'}", flush=True)
    found = 0
    for target in targets:
        seconds = options.seconds / len(targets)
        if guided:
            well = driver.by_atheris(target, seconds, seed, _DIRECTORY)
            print(f"{target.name}: {'nothing found' if well else 'FAILED, see above'}", flush=True)
            found += not well
            continue
        count, failure = driver.by_chance(target, seconds, seed)
        print(f"{target.name}: {count} inputs, {'nothing found' if failure is None else 'FAILED'}", flush=True)
        if failure is not None:
            found += 1
            print(failure.error)
            print(f"octets, also in {driver.keep(failure, _DIRECTORY)}:\n{failure.data!r}", flush=True)
    return 1 if found else 0
