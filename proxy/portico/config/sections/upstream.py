"""[groups], [health], [sql] and [auth_http]: which server, where from that is known, and when a server is ill.

Rule of this file: declarations only, as in settings.py; what must fit together is in config/check_routes.py.
"""

from __future__ import annotations

from pydantic import Field

from portico.config.sections.base import Settings
from portico.config.units import MINUTES, SECONDS, Duration, ReadFile, SecretText


class Member(Settings):
    """A server of a group."""

    server: str = Field(min_length=1, description="Name of the server.")
    order: int = Field(0, ge=0, description="Those with the lowest number come first; a higher one is used while none of the lower can be.")
    weight: int = Field(1, ge=1, le=1000, description="Its part of the users, beside those of the same order.")


class Group(Settings):
    """Servers that have the same users' mail; its name stands wherever a server's can."""

    members: list[Member] = Field(min_length=1, description="The servers.")
    sticky: bool = Field(
        True,
        description="A user always comes to the same one while it is well, over IMAP and POP3, from all processes and machines. "
        "Off: any of them by weight.",
    )


class Health(Settings):
    """When a server is ill. A group goes on with its other members; a login for which no server is left is refused at once, UNAVAILABLE."""

    failures: int = Field(
        5,
        ge=0,
        description="So many failures in a row open the breaker: no answer, no greeting, no TLS, an end or silence in the sign-in. "
        "0: never. A wrong password is an answer. Failures in sign-ins from one network count once in a row: clients can provoke them.",
    )
    rest: Duration = Field(
        5 * SECONDS, gt=0, description="An open breaker lets nobody through for so long; doubled each time it opens again."
    )
    rest_max: Duration = Field(
        1 * MINUTES, gt=0, description="The longest such rest. A failure longer after the one before it begins a new row."
    )
    trial: Duration = Field(
        20 * SECONDS, gt=0, description="Half open: one login is let through; if nothing has come of it in this time, another one is."
    )
    interval: Duration = Field(
        1 * MINUTES,
        gt=0,
        description="How often each server is asked for its greeting (servers.*.probe). One that fails is asked again after 5 seconds, "
        "then ever more seldom, at least every 5 minutes or as often as set here. Each process asks for itself.",
    )
    retries: int = Field(
        0,
        ge=0,
        le=20,
        description="How often all servers of a login are tried again, if none could be reached. Never once a login was sent to one.",
    )
    retry_wait: Duration = Field(1 * SECONDS, description="The pause before each of these; the client waits meanwhile.")


class Sql(Settings):
    """A database that knows where users are: the query's first row decides, no row: the next source is asked."""

    url: SecretText = Field(
        description='Where it is: "sqlite:///path", "postgresql://user:password@host/database" or "mysql://…", as SQLAlchemy writes it; '
        "text, or {file = …} or {env = …}."
    )
    query: str = Field(
        min_length=1,
        description="With :user, :local, :domain and :protocol. Columns of its row: server (a name of servers or groups) or host, port; "
        "user, the name to sign in with there.",
    )
    template: str | None = Field(None, description="Name of the server whose settings hold for a host that is not in the settings.")
    connections: int = Field(5, ge=1, le=500, description="Connections that each process has to it at most.")
    timeout: Duration = Field(5 * SECONDS, gt=0, description="For an answer; without one logins are refused, UNAVAILABLE.")
    ttl: Duration = Field(60 * SECONDS, description='How long an answer holds; "0s": it is asked at each login.')
    ttl_missing: Duration = Field(10 * SECONDS, description="How long it holds that there is no row.")
    cached: int = Field(100_000, ge=1, description="Answers that are kept.")


class Header(Settings):
    """A header of each question to a service."""

    name: str = Field(min_length=1, description="Its name, as X-Auth-Key.")
    value: SecretText = Field(description="Its value: text, or {file = …} or {env = …}; it is never printed.")


class AuthHttp(Settings):
    """A service that checks passwords and says where to go, in the words of nginx's auth_http."""

    url: str = Field(description='Where it is: "http://127.0.0.1:8080/auth" or "https://…".')
    headers: list[Header] = Field(default=[], description="Further headers of each question (nginx: auth_http_header).")
    ca_file: ReadFile | None = Field(None, description="PEM file of the authorities to trust with https; default: the system's.")
    template: str | None = Field(
        None, description="Name of the server whose settings (TLS, master user …) hold for a host that is not in the settings."
    )
    connections: int = Field(100, ge=1, le=10_000, description="Connections that each process has to it at most.")
    timeout: Duration = Field(10 * SECONDS, gt=0, description="For an answer; without one logins are refused, UNAVAILABLE.")
    ttl: Duration = Field(
        0 * SECONDS, description='How long a yes holds for the same user, password and client address; "0s": it is asked at each login.'
    )
    ttl_refused: Duration = Field(0 * SECONDS, description="How long a no holds for these.")
    cached: int = Field(10_000, ge=1, description="Answers that are kept; of passwords only keyed digests.")
