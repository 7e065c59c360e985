"""What the proxy itself says to an IMAP client, from the greeting until it knows who comes.

Rule of this file: the dialogue before login and nothing else. `advance` reads one command after the
other until a login has to be checked; then it stops, and what is unread stays in the Reader.
RFC 9051 6.1, 6.2; RFC 2971 (ID); RFC 4959 (SASL-IR).
"""

from __future__ import annotations

import re

from portico.errors import PeerError
from portico.session.close import Reason
from portico.session.context import Context, LoginAttempt, SessionView
from portico.session.decisions import Close, Decision, Record, SendToClient, StartTls, Trace
from portico.session.events import CLIENT
from portico.session.forwarded import Origin
from portico.session.imap.client_id import client_id_and_origin
from portico.session.imap.gather import GO_AHEAD, Gather
from portico.session.roles import Wish, takes_tokens
from portico.wire import sasl
from portico.wire.capability import imap_line_before_login
from portico.wire.imap import COMMANDS, CommandLine, parse_arguments, parse_command, tag_of
from portico.wire.lines import Line, Reader

_ID_LIST = re.compile(rb"\([^()]*\)\Z|NIL\Z", re.IGNORECASE)
_OWN_ID = b'("name" "Portico")'


class Front:
    """`feed` bytes, then `advance`; both may be called at any time, cut anywhere."""

    __slots__ = (
        "_bad", "_gather", "_mechanism", "_origin", "_refused", "client_id", "commands", "context", "reader", "starting_tls", "tag",
        "traced", "view",
    )  # fmt: skip

    def __init__(self, context: Context, view: SessionView) -> None:
        limits = context.settings.limits
        self.context = context
        self.view = view
        self.reader = Reader(limits.line_before_login, limits.literal_before_login)
        self.tag = b""
        self.client_id: dict[str, str] = {}
        self.commands = 0
        self.starting_tls = False
        self.traced = bool(context.trace_users)
        self._gather = Gather(limits.line_before_login + limits.literal_before_login)
        self._mechanism: sasl.ServerMechanism | None = None
        self._origin = Origin(context)
        self._bad = 0
        self._refused = 0

    # -- what is offered

    @property
    def _encrypted(self) -> bool:
        return self.context.peer.tls is not None

    @property
    def _may_sign_in(self) -> bool:
        return self._encrypted or self.context.settings.plain_login

    def _mechanisms(self) -> list[str]:
        if not self._may_sign_in:
            return []
        return sasl.offered(
            self.context.settings.mechanisms,
            client_name=self.context.peer.tls.client_name if self.context.peer.tls else None,
            relayed=self.context.facts.mechanisms if self.context.known_target is not None else (),
            tokens=takes_tokens(self.context),
        )

    def capabilities(self) -> bytes:
        known = self.context.facts.secured or self.context.facts.plain
        starttls = self.context.settings.tls == "starttls" and not self._encrypted
        return imap_line_before_login(tuple(known), starttls, tuple(self._mechanisms()), self._may_sign_in)

    def greeting(self) -> bytes:
        return b"* OK [CAPABILITY %b] %b\r\n" % (self.capabilities(), self.context.settings.greeting.encode())

    # -- the dialogue

    @property
    def in_exchange(self) -> bool:
        """The client's next lines are SASL responses, not commands."""
        return not self.reader.literals

    @in_exchange.setter
    def in_exchange(self, value: bool) -> None:
        self.reader.literals = not value

    def feed(self, data: bytes) -> None:
        self.reader.feed(data)

    def advance(self, out: list[Decision]) -> Wish | None:
        """Read and answer until nothing whole is left (None) or somebody wants to sign in."""
        while not self.starting_tls:
            try:
                piece = self.reader.next()
                if piece is None:
                    return None
                if self._mechanism is not None:
                    assert isinstance(piece, Line)
                    wish = self._authenticate_step(piece, out)
                else:
                    if not self._gather.add(piece):
                        if not isinstance(piece, Line) or not piece.sync:
                            continue
                        if self._wanted(piece):
                            self._say(out, GO_AHEAD)
                            continue
                        self.reader.refuse_literal()
                    wish = self._command(self._gather.take(), out)
                if wish is not None:
                    return wish
            except PeerError as error:
                if self._refuse(error, out):
                    return None
            if out and isinstance(out[-1], Close):
                return None
        return None

    def _wanted(self, line: Line) -> bool:
        """Whether the literal that `line` announces can be of use; else the command is answered without it, and a password is not
        asked for where it may not be sent."""
        if self._gather.first is not line.data:
            return True  # a later one: of LOGIN, or ID
        try:
            name = parse_command(line.text).name
        except PeerError:
            return False
        return name == "ID" or (name == "LOGIN" and self._may_sign_in)

    def _say(self, out: list[Decision], data: bytes, shown: bytes = b"") -> None:
        """`shown`: what the trace says instead. The tag of what is no command may be a password: one that came unasked, or
        behind a command that was refused."""
        out.append(SendToClient(data))
        if self.traced:
            out.append(Trace("<C", shown or data))

    def _heard(self, out: list[Decision], data: bytes) -> None:
        if self.traced:
            out.append(Trace("C>", data))

    def _refuse(self, error: PeerError, out: list[Decision]) -> bool:
        """Tell the client what was wrong. True: the session ends."""
        first = self._gather.first or self.reader.refused
        tag = self.tag if self._mechanism is not None else tag_of(first)
        self._mechanism = None
        self.in_exchange = False
        if not error.fatal:
            self.reader.refuse_literal()
        self._gather.take()
        self.reader.refused = b""
        self._bad += 1
        self._refused += 1
        if error.fatal or self._refused <= self.context.settings.limits.bad_commands:  # nobody fills the log from outside
            out.append(Record("session.protocol_error", {"text": error.text}))
        if error.fatal or self._bad >= self.context.settings.limits.bad_commands:
            self._say(out, b"* BYE %b\r\n" % (error.text if error.fatal else "Too many bad commands").encode())
            out.append(Close(Reason.PROTOCOL_ERROR if error.fatal else Reason.TOO_MANY_BAD_COMMANDS, "client", error.text))
            return True
        code = f"[{error.code}] " if error.code else ""
        text = (code + error.text).encode()
        self._say(out, b"%b BAD %b\r\n" % (tag, text), b"<hidden> BAD %b\r\n" % text)
        return False

    def _command(self, raw: bytes, out: list[Decision]) -> Wish | None:
        if not raw.strip(b" \r\n"):
            raise PeerError("Empty line")
        self.tag = tag_of(raw)
        self.commands += 1
        try:
            command = parse_command(raw)
        except PeerError as error:
            self._bad_command(error.text, out)
            return None
        if self.traced:
            # A mistyped LOGIN has a password too, and a password may be two words: only what is known to have none is written out.
            if command.name not in _COMMANDS:
                self._heard(out, b"<hidden>\r\n")
            elif command.arguments.strip(b" ") and not (command.name == "ID" and _ID_LIST.match(command.arguments)):
                self._heard(out, b"%b %b <hidden>\r\n" % (command.tag, command.name.encode()))
            else:
                self._heard(out, raw + b"\r\n")
        handler = None if command.uid else _COMMANDS.get(command.name)
        if handler is None:
            self._bad_command("Sign in first" if command.name in COMMANDS or command.uid else "Unknown command", out)
            return None
        try:
            wish = handler(self, command, out)
        except PeerError as error:
            if error.fatal:
                raise
            self._bad_command(error.text, out)
            return None
        self._bad = 0
        return wish

    def _bad_command(self, text: str, out: list[Decision]) -> None:
        self._bad += 1
        self._say(out, b"%b BAD %b\r\n" % (self.tag, text.encode()), b"<hidden> BAD %b\r\n" % text.encode())
        if self._bad >= self.context.settings.limits.bad_commands:
            self._say(out, b"* BYE Too many bad commands\r\n")
            out.append(Close(Reason.TOO_MANY_BAD_COMMANDS, "client", text))

    def _ok(self, command: CommandLine, out: list[Decision], text: bytes, untagged: bytes = b"") -> None:
        self._say(out, untagged + b"%b OK %b\r\n" % (command.tag, text))

    def _noop(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        _no_arguments(command)
        self._ok(command, out, b"Nothing done.")
        return None

    def _capability(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        _no_arguments(command)
        self._ok(command, out, b"Capability completed.", b"* CAPABILITY %b\r\n" % self.capabilities())
        return None

    def _logout(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        _no_arguments(command)
        self._ok(command, out, b"Logout completed.", b"* BYE Logging out\r\n")
        out.append(Close(Reason.LOGOUT, "client"))
        return None

    def _id(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        """RFC 2971. Kept for the server and the plugins; what only a proxy may say (x-…) is believed only from those who may say it."""
        said, origin = client_id_and_origin(command.arguments)
        if origin:
            self._origin.said("id", origin, out)
        self.client_id = said
        self.view.client_id = said
        self._ok(command, out, b"ID completed.", b"* ID %b\r\n" % _OWN_ID)
        return None

    def _starttls(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        _no_arguments(command)
        if self.context.settings.tls != "starttls" or self._encrypted:
            raise PeerError("TLS is already active" if self._encrypted else "STARTTLS is not offered here")
        self._ok(command, out, b"Begin TLS negotiation now.")
        # RFC 9051 11.1: what was sent in clear behind the command is not to be believed.
        discarded = len(self.reader.take_rest())
        if discarded:
            out.append(Record("session.plaintext_discarded", {"octets": discarded, "side": "client"}))
        out.append(StartTls(CLIENT))
        self.starting_tls = True
        return None

    def tls_started(self) -> None:
        """All that was said before TLS is forgotten (RFC 9051 6.2.1)."""
        self.starting_tls = False
        self.client_id = {}
        self.view.client_id = {}
        self._origin.forget()
        self.reader.take_rest()

    # -- signing in

    def _login(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        if self._refuse_plain(command, out):
            return None
        arguments = parse_arguments(command.arguments)
        if len(arguments) != 2:
            raise PeerError("LOGIN takes a user name and a password")
        name, password = arguments
        name = b"NIL" if name is None else name
        password = b"NIL" if password is None else password
        if not isinstance(name, bytes) or not isinstance(password, bytes):
            raise PeerError("LOGIN takes a user name and a password")
        if not name:
            raise PeerError("LOGIN takes a user name")
        return Wish(LoginAttempt(sasl.identity(name), "LOGIN", sasl.password(password)))

    def _refuse_plain(self, command: CommandLine, out: list[Decision]) -> bool:
        if self._may_sign_in:
            return False
        # RFC 5530 PRIVACYREQUIRED
        self._say(out, b"%b NO [PRIVACYREQUIRED] Sign in over TLS only.\r\n" % command.tag)
        return True

    def _authenticate(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        name, _, initial = command.arguments.partition(b" ")
        mechanism = name.decode("latin-1").upper()
        if self._refuse_plain(command, out):
            return None
        if not mechanism or b" " in initial:
            raise PeerError("AUTHENTICATE takes a mechanism and an initial response")
        if mechanism not in self._mechanisms():
            # RFC 9051 6.2.2: NO for an unsupported mechanism
            self._say(out, b"%b NO [CANNOT] This mechanism is not offered.\r\n" % command.tag)
            return None
        tls = self.context.peer.tls
        ours = sasl.start(mechanism, external_name=tls.client_name if tls else None)
        if ours is None:
            user = sasl.name_in(mechanism, sasl.decode_initial(initial)) if initial else ""
            return Wish(LoginAttempt(user, mechanism), initial or None)
        first = sasl.decode_initial(initial) if initial else None
        return self._after_step(ours, ours.step(first), out)

    def _authenticate_step(self, line: Line, out: list[Decision]) -> Wish | None:
        ours = self._mechanism
        assert ours is not None
        self._heard(out, b"<hidden>\r\n")
        try:
            return self._after_step(ours, ours.step(sasl.decode(line.text)), out)
        except sasl.Cancelled:  # RFC 9051 6.2.2: a tagged BAD
            self._end_exchange()
            self._say(out, b"%b BAD Authentication cancelled.\r\n" % self.tag)
            return None

    def _after_step(self, ours: sasl.ServerMechanism, said: sasl.Challenge | sasl.Credentials, out: list[Decision]) -> Wish | None:
        if isinstance(said, sasl.Challenge):
            self._mechanism = ours
            self.in_exchange = True
            self._say(out, b"+ %b\r\n" % sasl.encode(said.data))
            return None
        self._end_exchange()
        return Wish(LoginAttempt(said.user, said.mechanism, said.password, said.authzid))

    def _end_exchange(self) -> None:
        self._mechanism = None
        self.in_exchange = False


def _no_arguments(command: CommandLine) -> None:
    if command.arguments.strip(b" "):
        raise PeerError(f"{command.name} takes no arguments")


_COMMANDS = {
    "NOOP": Front._noop,
    "CAPABILITY": Front._capability,
    "LOGOUT": Front._logout,
    "ID": Front._id,
    "STARTTLS": Front._starttls,
    "LOGIN": Front._login,
    "AUTHENTICATE": Front._authenticate,
}
