"""``servers``: the servers behind, and those that are to get no new sessions.

Rule of this file: questions to the Control, answers as tables or JSON.
"""

from __future__ import annotations

import click

from portico.console.seat import Seat, span
from portico.console.verb import json_option, must_act, verb


@verb("servers")
@click.option("--drain", metavar="NAME", help="Send no new sessions to this server; those that it has go on.")
@click.option("--undrain", metavar="NAME", help="Send new sessions to it again.")
@json_option
async def servers(seat: Seat, drain: str | None, undrain: str | None, as_json: bool) -> None:
    """List the servers and how they are; take one out of use, or back.

    STATE is unused, well, trying (after an outage), failing, open (the breaker lets nobody through) or drained.
    """
    for name, verb_of_control in ((drain, "drain_server"), (undrain, "undrain_server")):
        if name is not None:
            must_act(seat)
            await seat.control.ask(verb_of_control, {"server": name})
    found = await seat.control.ask("servers", {})
    if as_json:
        seat.json(found)
        return
    seat.table(
        ["SERVER", "PROTOCOL", "ADDRESS", "STATE", "SESSIONS", "DIALS", "FAILURES", "LAST ERROR", "AGO"],
        (
            [
                each["server"],
                each["protocol"],
                each["address"],
                each["state"],
                each["sessions"],
                each["dials"],
                each["failures"],
                each["last_error"],
                span(each.get("last_failure")),
            ]
            for each in found
        ),
        numbers=("SESSIONS", "DIALS", "FAILURES", "AGO"),
    )
