"""What a log event counts for: from the log's words to the metrics'.

Rule of this file: no state; each event is counted where it passes anyway (Generation.record), whether it is written or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from portico.observe.metrics import Counts
from portico.wire.imap import COMMANDS
from portico.wire.pop3 import TRANSACTION

_TROUBLES: Final = {f"annotations.{kind}": kind for kind in ("contradicted", "failed", "passed_over", "not_transformed", "transform_lost")}
_TRANSFERS: Final = ("completed", "failed", "doubled")
_WRONG: Final = "AUTHENTICATIONFAILED"
_BY_NAME: Final = {"imap": COMMANDS, "pop3": TRANSACTION}
OTHER: Final = "other"


def command_label(protocol: str, command: str) -> str:
    """One of a list that has an end: clients may say anything."""
    return command if command in _BY_NAME[protocol] else OTHER


def login_result(fields: Mapping[str, Any]) -> str:
    """Of login.failed: wrong, refused or unavailable (see portico_logins_total)."""
    if fields["side"] == "client" or fields["code"] == _WRONG:
        return "wrong"
    return "unavailable" if fields["side"] == "server" else "refused"


def count_record(counts: Counts, protocol: str, event: str, fields: Mapping[str, Any]) -> None:
    """Count an event of a session."""
    if event == "login.succeeded":
        counts.count("portico_logins_total", protocol, "ok")
    elif event == "login.failed":
        result = login_result(fields)
        counts.count("portico_logins_total", protocol, result)
        if result == "refused":
            counts.count("portico_refusals_total", protocol, fields["reason"])
    elif event == "plugin.failed":
        counts.count("portico_plugin_errors_total", fields["plugin"], fields["hook"])
    elif event == "sizes.told":
        counts.count("portico_sizes_total", protocol, "estimated", by=fields["estimated"])
        counts.count("portico_sizes_total", protocol, "exact", by=fields["exact"])
        for ratio in fields.get("ratios", ()):
            counts.observe("portico_sizes_ratio", ratio, protocol)
    elif event in _TROUBLES:
        counts.count("portico_annotation_troubles_total", protocol, _TROUBLES[event])
    elif event == "annotations.shown":
        counts.count("portico_annotations_shown_total", protocol, by=fields["messages"])
    elif event.startswith(("mount.", "transfer.")):
        _count_mounts(counts, event, fields)


def _count_mounts(counts: Counts, event: str, fields: Mapping[str, Any]) -> None:
    room, _, what = event.partition(".")
    if room == "transfer":
        if what in _TRANSFERS:
            counts.count("portico_transfers_total", what)
        if what == "completed":
            counts.count("portico_transfer_messages_total", "moved" if fields["moved"] else "copied", by=fields["messages"])
    elif what == "opened":
        counts.count("portico_mounts_opened_total", fields["server"])
    elif what == "failed":
        counts.count("portico_mount_failures_total", fields["server"], fields["reason"])
    elif what == "list_remembered":
        counts.count("portico_mount_lists_remembered_total", fields["server"])
    elif what == "used":
        counts.count("portico_mount_commands_total", fields["server"], by=fields["asked"])
