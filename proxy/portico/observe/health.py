"""Whether new sessions are served, in plain values.

Rule of this file: what one process knows of itself goes in, what all of them together are comes out. `problems` are finished sentences;
none: ready.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Health = dict[str, Any]
"""``{"draining": bool, "listeners": {name: {"open": bool, "servers": {name: well}}}}``, of one process."""


def together(answers: Iterable[Health], *, draining: bool = False) -> Health:
    """Of several processes: a listener is open where one has it open, a server is well where one can reach it. With `problems` and
    `ready`."""
    listeners: dict[str, dict[str, Any]] = {}
    leaving = draining
    nobody = True
    for answer in answers:
        nobody = False
        leaving = leaving or bool(answer["draining"])
        for name, found in answer["listeners"].items():
            known = listeners.setdefault(name, {"open": False, "servers": {}})
            known["open"] = known["open"] or found["open"]
            for server, well in found["servers"].items():
                known["servers"][server] = known["servers"].get(server, False) or well
    problems = list(_problems(listeners, draining=leaving, nobody=nobody))
    return {"ready": not problems, "problems": problems, "draining": leaving, "listeners": listeners}


def _problems(listeners: Mapping[str, Mapping[str, Any]], *, draining: bool, nobody: bool) -> Iterable[str]:
    if draining:
        yield "Portico is stopping."
    elif nobody:
        yield "No worker serves."
    for name, listener in listeners.items():
        if not listener["open"] and not draining:
            yield f"Listener {name} is not open."
        servers = listener["servers"]
        if servers and not any(servers.values()):
            yield f"Listener {name}: no server is well ({', '.join(servers)})."
