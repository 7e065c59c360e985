"""Who may come in, and where to.

Rule of this file: every refusal before the server has been asked is made here, with the words and codes
that the client gets. It opens nothing, and answers at once where nobody has to be waited for: a plugin, the commons (gate.commons), what an
address has to pay, a user's hold. A login is refused whenever something in here fails: the gate fails closed. (Commons that are away are no
failure: they say yes.)

Whoever is let in is known by proof: his password, which the server itself will check, or a certificate that
was verified. The master user of a server is therefore used only where there is no password to check, or where a plugin
has vouched for the user; it never replaces a check.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from inspect import isawaitable
from typing import Any, Final, Protocol

from portico.config.sections.penalties import Penalties
from portico.config.settings import Limits
from portico.gate.commons import Claimed, Commons, bounds_of
from portico.gate.limits import Counts, Ticket, network_of
from portico.gate.networks import Networks
from portico.gate.penalties import digest_of
from portico.gate.way import Verdict, Way
from portico.session.context import LoginAttempt, Refusal, Route, RouteChoice, SessionView
from portico.upstream.lookups import Question
from portico.wire.sasl import MAX_NAME

_HELD: Final = 60.0

_Steps = Generator[Any, Any, Verdict]


class Plugins(Protocol):
    """What the gate asks of plugins (plugin.host supplies it). Whatever fails in there comes out as a Refusal.

    `attempted`: a Refusal ends the login. `routed`: a RouteChoice or Route goes before the table; None: no opinion.
    """

    def attempted(self, view: SessionView, attempt: LoginAttempt) -> Refusal | Awaitable[Refusal | None] | None: ...

    def routed(
        self, view: SessionView, attempt: LoginAttempt
    ) -> RouteChoice | Verdict | Awaitable[RouteChoice | Verdict | None] | None: ...


class Gate:
    """The gate of one reading of the settings. `counts` and `commons` outlive it."""

    __slots__ = ("_bounds", "_commons", "_counts", "_exempt", "_held", "_key", "_limits", "_penalties", "_plugins", "_report", "_ways")

    def __init__(
        self,
        ways: Mapping[str, Way],
        limits: Limits,
        counts: Counts,
        plugins: Plugins | None,
        report: Callable[[SessionView, Exception], None],
        *,
        commons: Commons | None = None,
        penalties: Penalties | None = None,
        key: bytes = b"",
        held: Mapping[str, float] | None = None,
    ) -> None:
        """`commons` None: there are none, and nobody pays or is held. `key`: penalties.digest_key. `held`: seconds that a login of a held
        user waits, by listener."""
        self._ways = ways
        self._limits = limits
        self._counts = counts
        self._commons = commons
        self._penalties = penalties or Penalties()
        self._bounds = bounds_of(limits, self._penalties)
        self._exempt = Networks(self._penalties.exempt)
        self._key = key
        self._held = held or {}
        self._plugins = plugins
        self._report = report

    @property
    def counts(self) -> Counts:
        return self._counts

    def arrive(self, rip: str, *, counted: bool = True) -> tuple[Ticket, Refusal | None]:
        """A connection was accepted: count it in this process, or refuse it. The ticket comes back to `leave` in any case. `counted` False:
        not for its address."""
        return self._counts.arrive(rip, self._limits, counted=counted)

    def enter(self, ticket: Ticket, session: str) -> Refusal | Awaitable[Refusal | None] | None:
        """Count it in all processes, or refuse it; an awaitable only where these have to be asked."""
        if self._commons is None or not ticket.counted:
            return None
        ticket.session = session
        said = self._commons.arrive(session, ticket.network, self._bounds)
        if said is None or isinstance(said, str):
            return self._counts.refuse(said) if said is not None else None
        return self._enter_later(said)

    async def _enter_later(self, waiting: Awaitable[str | None]) -> Refusal | None:
        said = await waiting
        return self._counts.refuse(said) if said is not None else None

    def failed(self, ticket: Ticket, view: SessionView, *, counts: bool) -> None:
        """The login that `check` let pass did not succeed. `counts`: the password was wrong."""
        self._unclaim(ticket, view)
        if counts:
            self._wrong(ticket, view)

    def succeeded(self, ticket: Ticket, view: SessionView) -> None:
        """It did."""
        if self._commons is not None and ticket.digest:
            self._commons.right(network_of(view.peer.rip), view.user, ticket.digest)
        ticket.digest = ""

    def leave(self, ticket: Ticket) -> None:
        """The session is over."""
        self._counts.leave(ticket)
        if self._commons is not None and ticket.session:
            self._commons.leave(ticket.session)
            ticket.session = ""

    def check(self, ticket: Ticket, view: SessionView, attempt: LoginAttempt) -> Verdict | Awaitable[Verdict]:
        """May this login go on, and where to. Raises nothing; a Refusal leaves no user counted.

        An awaitable only where somebody has to be waited for.
        """
        try:
            refusal = _sound(view, attempt) or self._claim(ticket, view, attempt)
            if refusal is not None:
                return self._settle(ticket, view, refusal)
            steps = self._steps(ticket, view, attempt)
            said: Any = None
            while True:
                said = steps.send(said)
                if said is not None and isawaitable(said):
                    return self._go_on(ticket, view, steps, said)
        except StopIteration as end:
            return self._settle(ticket, view, end.value)
        except Exception as error:
            return self._broken(ticket, view, error)

    async def _go_on(self, ticket: Ticket, view: SessionView, steps: _Steps, waiting: Awaitable[Any]) -> Verdict:
        try:
            while True:
                said = steps.send(await waiting)
                while said is None or not isawaitable(said):
                    said = steps.send(said)
                waiting = said
        except StopIteration as end:
            return self._settle(ticket, view, end.value)
        except Exception as error:
            return self._broken(ticket, view, error)
        finally:
            steps.close()  # whoever was waited for: nobody waits any more

    def _claim(self, ticket: Ticket, view: SessionView, attempt: LoginAttempt) -> Refusal | None:
        """In this process."""
        if view.peer.rip != ticket.rip:  # a proxy has said meanwhile whom it speaks for
            refusal = self._counts.move(ticket, view.peer.rip, self._limits)
            if refusal is not None:
                return refusal
        return self._counts.claim(ticket, attempt.user, self._limits)

    def _wait(self, ticket: Ticket, view: SessionView, attempt: LoginAttempt) -> Generator[Any, Any, Refusal | None]:
        """Claim in all processes; then wait as long as the address has to pay and the user is held."""
        commons = self._commons
        if commons is None or not attempt.user:
            return None
        ticket.session = view.id
        network, exempt = network_of(view.peer.rip), view.peer.rip in self._exempt
        ticket.digest = digest_of(self._key, attempt.user, attempt.password, network)
        word = yield commons.arrive(view.id, ticket.network, self._bounds) if ticket.moved else None
        if word is not None:
            return self._counts.refuse(word)
        ticket.moved = False
        said: Claimed = yield commons.claim(view.id, attempt.user, network, exempt, ticket.digest, self._bounds)
        if said["refusal"] is not None:
            return self._counts.refuse(said["refusal"])
        paid = min(self._penalties.delay * 2.0 ** (ticket.wrong - 1), self._penalties.delay_max) if ticket.wrong else 0.0
        delay = said["delay"] - paid  # the session itself has waited for its own wrong logins
        if delay > 0:
            with self._counts.queue(network) as waiting:
                if waiting > self._penalties.waiting:
                    return self._counts.refuse("limit_waiting")
                self._counts.delayed += 1
                self._unclaim(ticket, view)  # who waits, a guesser perhaps, must not have the sessions that the user may have
                yield asyncio.sleep(delay)
            said = yield from self._claim_again(ticket, view, attempt)
        if said["refusal"] is None and said["held"]:
            self._unclaim(ticket, view)
            if not (yield commons.pass_hold(attempt.user, self._held.get(view.listener, _HELD))):
                return self._counts.refuse("held")
            said = yield from self._claim_again(ticket, view, attempt)
        return self._counts.refuse(said["refusal"]) if said["refusal"] is not None else None

    def _claim_again(self, ticket: Ticket, view: SessionView, attempt: LoginAttempt) -> Generator[Any, Any, Claimed]:
        """After it has waited, and paid."""
        assert self._commons is not None
        word = self._counts.take(ticket, attempt.user, self._limits.sessions_per_user, self._limits.per_user_and_address)
        if word is not None:
            return {"refusal": word, "delay": 0.0, "held": False}
        said: Claimed = yield self._commons.claim(view.id, attempt.user, network_of(view.peer.rip), True, ticket.digest, self._bounds)
        return said

    def _steps(self, ticket: Ticket, view: SessionView, attempt: LoginAttempt) -> _Steps:
        """Yields what may have to be waited for and gets what came of it; returns the verdict."""
        turned_away = yield from self._wait(ticket, view, attempt)
        if turned_away is not None:
            return turned_away
        way = self._ways[view.listener]
        if not attempt.user:
            # A relayed mechanism in which the server speaks first: the name comes later, and then all this is asked again.
            return Route(way.known, "") if way.known is not None else _bad_name()
        said: Any = None
        if self._plugins is not None:
            refusal: Refusal | None = yield self._plugins.attempted(view, attempt)
            if refusal is not None:
                return refusal
            said = yield self._plugins.routed(view, attempt)
            if isinstance(said, Refusal):
                return said
            if isinstance(said, Route):
                return said if said.verified or not (said.master_user or said.password) else _unproved()
        if said is None:
            said = way.table.choose(attempt.user)
        for lookup in way.lookups if said is None else ():
            said = yield lookup.find(Question(attempt.user, view, attempt.mechanism, attempt.password, ticket.wrong + 1))
            if said is not None:
                break
        return said if isinstance(said, Refusal) else way.route(attempt, said)

    def _settle(self, ticket: Ticket, view: SessionView, verdict: Verdict) -> Verdict:
        if isinstance(verdict, Route) and not _printable(verdict):
            # Whoever chose it: a line end in a name would become a command of its own at the server.
            verdict = Refusal("Temporary failure; try again later.", "UNAVAILABLE", "bad_user_name")
        if isinstance(verdict, Refusal):
            self._unclaim(ticket, view)
            if verdict.counts:
                self._wrong(ticket, view)
        return verdict

    def _broken(self, ticket: Ticket, view: SessionView, error: Exception) -> Refusal:
        self._unclaim(ticket, view)
        self._report(view, error)
        return Refusal("Temporary failure; try again later.", "UNAVAILABLE", "bug")

    def _unclaim(self, ticket: Ticket, view: SessionView) -> None:
        self._counts.unclaim(ticket)
        if self._commons is not None:
            self._commons.unclaim(view.id)

    def _wrong(self, ticket: Ticket, view: SessionView) -> None:
        ticket.wrong += 1
        if self._commons is not None:
            network = "" if view.peer.rip in self._exempt else network_of(view.peer.rip)
            self._commons.wrong(network, view.user, ticket.digest, self._bounds)
        ticket.digest = ""


def _sound(view: SessionView, attempt: LoginAttempt) -> Refusal | None:
    """Whether the attempt makes sense by itself."""
    name = attempt.user
    if not name.isprintable() or len(name.encode("utf-8", "replace")) > MAX_NAME:
        # RFC 4616 2 forbids NUL; the rest would end up in log lines and on terminals.
        return _bad_name()
    if not name and attempt.password is not None:
        return _bad_name()
    if attempt.authzid and attempt.authzid != name:
        # RFC 4616 2: whom somebody may act for is the server's business, and it is asked about one name only.
        return Refusal("You cannot act for another user here.", "AUTHORIZATIONFAILED", "authzid", counts=True)
    if attempt.mechanism == "EXTERNAL":
        tls = view.peer.tls
        if tls is None or not tls.client_name or tls.client_name != name:
            return Refusal("No certificate for this user.", "AUTHENTICATIONFAILED", "no_certificate", counts=True)
    return None


def _printable(route: Route) -> bool:
    return all(each.user.isprintable() and each.master_user.isprintable() for each in (route, *route.others))


def _bad_name() -> Refusal:
    return Refusal("Sign-in failed.", "AUTHENTICATIONFAILED", "bad_user_name", counts=True)


def _unproved() -> Refusal:
    """Somebody's credentials would be used for a client who has proved nothing."""
    return Refusal("Temporary failure; try again later.", "UNAVAILABLE", "unproved")
