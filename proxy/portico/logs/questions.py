"""What people ask of logs.

Rule of this file: declarations only. A question is SQL over the view `log` (logs.reading), whose columns are the fields of the log by
their names; it may be asked alone. Its first line for people is its title. Where an event or a field is missing from a log, the answer
is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Question:
    """`columns`: the fields that it reads; `sql` has the answer in its order, best first, and no limit of its own."""

    name: str
    title: str
    columns: tuple[str, ...]
    sql: str


_EVENT: Final = "timestamp event "


def _question(name: str, title: str, columns: str, sql: str) -> Question:
    return Question(name, title, tuple((_EVENT + columns).split()), sql.strip())


_ALL: Final = (
    _question(
        "events", "Lines by event", "level",
        """
SELECT event, level, count(*) AS lines, min(timestamp) AS first, max(timestamp) AS last
FROM log GROUP BY event, level ORDER BY lines DESC, event
        """,
    ),
    _question(
        "logins", "Logins by user and address", "user rip",
        """
SELECT user, rip, count(*) FILTER (event = 'login.succeeded') AS logins, count(*) FILTER (event = 'login.failed') AS failed,
       max(timestamp) AS last
FROM log WHERE event IN ('login.succeeded', 'login.failed')
GROUP BY user, rip ORDER BY logins DESC, failed DESC, user, rip
        """,
    ),
    _question(
        "failed", "Failed logins by address, reason and whose fault it was", "user rip reason side",
        """
SELECT rip, side, reason, count(*) AS failed, count(DISTINCT user) AS users, min(timestamp) AS first, max(timestamp) AS last
FROM log WHERE event = 'login.failed'
GROUP BY rip, side, reason ORDER BY failed DESC, rip, side, reason
        """,
    ),
    _question(
        "slow", "Slow commands (log.slow_command)", "user server command result seconds",
        """
SELECT command, server, count(*) AS times, max(seconds) AS slowest, round(avg(seconds), 3) AS mean,
       count(DISTINCT user) AS users, arg_max(user, seconds) AS slowest_user
FROM log WHERE event = 'command.slow'
GROUP BY command, server ORDER BY slowest DESC, command, server
        """,
    ),
    _question(
        "closed", "Sessions by the reason of their end", "protocol reason side seconds bytes_out",
        """
SELECT protocol, reason, side, count(*) AS sessions, round(median(seconds), 3) AS median_seconds, sum(bytes_out)::BIGINT AS bytes_out
FROM log WHERE event = 'session.closed'
GROUP BY protocol, reason, side ORDER BY sessions DESC, protocol, reason, side
        """,
    ),
    _question(
        "traffic", "Traffic by mail program", "client user bytes_in bytes_out seconds",
        """
SELECT coalesce(client, '(not said)') AS client, count(*) AS sessions, count(DISTINCT user) AS users,
       sum(bytes_in)::BIGINT AS bytes_in, sum(bytes_out)::BIGINT AS bytes_out, round(sum(seconds)) AS seconds
FROM log WHERE event = 'session.closed' AND user IS NOT NULL
GROUP BY client ORDER BY bytes_out DESC, client
        """,
    ),
    _question(
        "shown", "Messages shown with a link or another annotation, by user", "user messages",
        """
SELECT user, count(*) AS sessions, sum(messages)::BIGINT AS messages, max(timestamp) AS last
FROM log WHERE event = 'annotations.shown'
GROUP BY user ORDER BY messages DESC, user
        """,
    ),
    _question(
        "folders", "Use of public folders and other mounts", "user server prefix asked opened",
        """
SELECT prefix, server, count(*) FILTER (event = 'mount.used') AS sessions, count(DISTINCT user) AS users,
       coalesce(sum(asked), 0)::BIGINT AS commands, coalesce(sum(opened), 0)::BIGINT AS opened,
       count(*) FILTER (event = 'mount.failed') AS failed
FROM log WHERE event IN ('mount.used', 'mount.failed')
GROUP BY prefix, server ORDER BY commands DESC, prefix, server
        """,
    ),
    _question(
        "plugins", "Errors by plugin", "plugin hook error session",
        """
SELECT plugin, hook, error, count(*) AS times, count(DISTINCT session) AS sessions, min(timestamp) AS first, max(timestamp) AS last
FROM log WHERE event = 'plugin.failed'
GROUP BY plugin, hook, error ORDER BY times DESC, plugin, hook, error
        """,
    ),
    _question(
        "servers", "Trouble with servers", "server reason detail",
        """
SELECT server, event, reason, count(*) AS times, min(timestamp) AS first, max(timestamp) AS last, any_value(detail) AS detail
FROM log WHERE event IN ('upstream.failed', 'server.probe_failed', 'mount.failed')
GROUP BY server, event, reason ORDER BY times DESC, server, event, reason
        """,
    ),
    _question(
        "hours", "Logins and sessions by hour", "user bytes_out",
        """
SELECT date_trunc('hour', timestamp) AS hour, count(*) FILTER (event = 'login.succeeded') AS logins,
       count(*) FILTER (event = 'login.failed') AS failed, count(*) FILTER (event = 'session.closed') AS ended,
       count(DISTINCT user) FILTER (event = 'login.succeeded') AS users, coalesce(sum(bytes_out), 0)::BIGINT AS bytes_out
FROM log WHERE event IN ('login.succeeded', 'login.failed', 'session.closed') AND timestamp IS NOT NULL
GROUP BY hour ORDER BY hour
        """,
    ),
)  # fmt: skip

QUESTIONS: Final = {question.name: question for question in _ALL}
