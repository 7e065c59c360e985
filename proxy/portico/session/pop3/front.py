"""What the proxy itself says to a POP3 client, from the greeting until it knows who comes.

Rule of this file: the dialogue of the AUTHORIZATION state and nothing else. `advance` reads one command after the other until a
login has to be checked. RFC 1939 4, 7; RFC 2449 (CAPA); RFC 2595 (STLS); RFC 5034 (AUTH); RFC 6856 (UTF8).
"""

from __future__ import annotations

from portico.errors import PeerError
from portico.session.close import Reason
from portico.session.context import Context, LoginAttempt, SessionView
from portico.session.decisions import Close, Decision, Record, SendToClient, StartTls, Trace
from portico.session.events import CLIENT
from portico.session.forwarded import Origin, said_by_xclient
from portico.session.roles import Wish, takes_tokens
from portico.wire import sasl
from portico.wire.lines import Line, Reader
from portico.wire.pop3 import TRANSACTION, CommandLine, parse_command, stuffed

_OURS = (b"RESP-CODES", b"AUTH-RESP-CODE")
_THEIRS = (b"TOP", b"UIDL", b"PIPELINING")
"""What every server in use has; where a server is known, it is asked. A client may rely on it behind its login, before it asks again."""


class Front:
    """`feed` bytes, then `advance`; both may be called at any time, cut anywhere."""

    __slots__ = (
        "_bad", "_mechanism", "_origin", "_refused", "_user", "banner", "client_id", "commands", "context", "digest", "in_exchange",
        "reader", "starting_tls", "traced", "utf8", "view",
    )  # fmt: skip

    def __init__(self, context: Context, view: SessionView) -> None:
        self.context = context
        self.view = view
        self.reader = Reader(context.settings.limits.line_before_login, 0, literals=False)
        self.client_id: dict[str, str] = {}
        self.commands = 0
        self.starting_tls = False
        self.in_exchange = False
        self.traced = bool(context.trace_users)
        self.banner = b""
        """The server's timestamp, where APOP is relayed."""
        self.digest = b""
        """APOP's."""
        self.utf8 = False
        """The client has asked for UTF8 (RFC 6856 2)."""
        self._user = ""
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

    def _known(self) -> set[bytes]:
        facts = self.context.facts
        return {line.split(b" ", 1)[0].upper() for line in facts.secured or facts.plain}

    def _mechanisms(self) -> list[str]:
        return sasl.offered(
            self.context.settings.mechanisms,
            client_name=self.context.peer.tls.client_name if self.context.peer.tls else None,
            relayed=self.context.facts.mechanisms if self.context.known_target is not None else (),
            tokens=takes_tokens(self.context),
        )

    def capabilities(self) -> list[bytes]:
        known = self._known()
        names = [name for name in _THEIRS if name in known or not known] + list(_OURS)
        if self.context.settings.tls == "starttls" and not self._encrypted:
            names.append(b"STLS")
        if self._may_sign_in:
            names.append(b"USER")
            mechanisms = self._mechanisms()
            if mechanisms:
                names.append(b"SASL " + " ".join(mechanisms).encode())
        if b"UTF8" in known:
            names.append(b"UTF8")
        return names

    def greeting(self) -> bytes:
        banner = b" " + self.banner if self.banner else b""
        code = b"[XCLIENT] " if self.context.trusted else b""  # Dovecot's word to those who may
        return b"+OK %b%b%b\r\n" % (code, self.context.settings.greeting.encode(), banner)

    # -- the dialogue

    def feed(self, data: bytes) -> None:
        self.reader.feed(data)

    def advance(self, out: list[Decision]) -> Wish | None:
        """Read and answer until nothing whole is left (None) or somebody wants to sign in."""
        while not self.starting_tls:
            try:
                line = self.reader.next()
                if line is None:
                    return None
                assert isinstance(line, Line)
                wish = self._step(line.text, out) if self._mechanism is not None else self._command(line.text, out)
            except PeerError as error:
                wish = None
                self._refuse(error, out)
            if wish is not None:
                return wish
            if out and isinstance(out[-1], Close):
                return None
        return None

    def _say(self, out: list[Decision], data: bytes) -> None:
        out.append(SendToClient(data))
        if self.traced:
            out.append(Trace("<C", data))

    def _heard(self, out: list[Decision], data: bytes) -> None:
        if self.traced:
            out.append(Trace("C>", data))

    def _refuse(self, error: PeerError, out: list[Decision]) -> None:
        self._mechanism = None
        self._bad += 1
        self._refused += 1
        if error.fatal or self._refused <= self.context.settings.limits.bad_commands:  # nobody fills the log from outside
            out.append(Record("session.protocol_error", {"text": error.text}))
        self._say(out, b"-ERR %b\r\n" % error.text.encode())
        if error.fatal:
            out.append(Close(Reason.PROTOCOL_ERROR, "client", error.text))
        elif self._bad >= self.context.settings.limits.bad_commands:
            out.append(Close(Reason.TOO_MANY_BAD_COMMANDS, "client", error.text))

    def _command(self, text: bytes, out: list[Decision]) -> Wish | None:
        self.commands += 1
        command = parse_command(text)
        handler = _COMMANDS.get(command.name)
        if handler is not None and (command.name == "USER" or not command.arguments):
            self._heard(out, text + b"\r\n")
        elif handler is not None or command.name in TRANSACTION:
            self._heard(out, command.name.encode() + b" <hidden>\r\n")
        else:
            self._heard(out, b"<hidden>\r\n")  # may be a password, mistyped or unasked
        if handler is None:
            raise PeerError("Unknown command, or sign in first")
        wish = handler(self, command, out)
        self._bad = 0
        return wish

    def _noop(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        self._say(out, b"+OK\r\n")
        return None

    def _quit(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        self._say(out, b"+OK Bye\r\n")
        out.append(Close(Reason.LOGOUT, "client"))
        return None

    def _capa(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        self._say(out, b"+OK Capability list follows\r\n" + stuffed(self.capabilities()))
        return None

    def _stls(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        if self.context.settings.tls != "starttls" or self._encrypted:
            raise PeerError("TLS is already active" if self._encrypted else "STLS is not offered here")
        self._say(out, b"+OK Begin TLS negotiation\r\n")
        # RFC 2595 4: what was sent in clear behind the command is not to be believed.
        discarded = len(self.reader.take_rest())
        if discarded:
            out.append(Record("session.plaintext_discarded", {"octets": discarded, "side": "client"}))
        out.append(StartTls(CLIENT))
        self.starting_tls = True
        return None

    def tls_started(self) -> None:
        """What was said before TLS is forgotten (RFC 2595 4)."""
        self.starting_tls = False
        self._user = ""
        self.utf8 = False
        self._origin.forget()
        self.reader.take_rest()

    def _utf8(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        if b"UTF8" not in self._known():
            raise PeerError("UTF8 is not offered here")
        self.utf8 = True
        self._say(out, b"+OK\r\n")
        return None

    def _xclient(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        """Dovecot's. From those who may not say it only the number of hops is taken, and they are told that."""
        if not self._origin.said("xclient", said_by_xclient(command.arguments), out):
            raise PeerError("XCLIENT that makes no sense" if self.context.trusted else "You are not from a trusted network")
        self._say(out, b"+OK Updated\r\n")
        return None

    # -- signing in

    def _must_be_encrypted(self) -> None:
        if not self._may_sign_in:
            raise PeerError("Sign in over TLS only")

    def _user_name(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        self._must_be_encrypted()
        if not command.arguments:
            raise PeerError("USER takes a name")
        self._user = sasl.identity(command.arguments)
        self._say(out, b"+OK\r\n")
        return None

    def _pass(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        self._must_be_encrypted()
        if not self._user:
            raise PeerError("USER comes first")
        user, self._user = self._user, ""
        return Wish(LoginAttempt(user, "USER", sasl.password(command.arguments)))

    def _apop(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        self._must_be_encrypted()
        if not self.banner:
            raise PeerError("APOP is not offered here")
        name, _, digest = command.arguments.rpartition(b" ")
        if not name or len(digest) != 32 or not digest.isalnum():
            raise PeerError("APOP takes a name and a digest")
        self.digest = digest
        return Wish(LoginAttempt(sasl.identity(name), "APOP"))

    def _auth(self, command: CommandLine, out: list[Decision]) -> Wish | None:
        name, _, initial = command.arguments.partition(b" ")
        self._must_be_encrypted()
        if not name:  # not in RFC 5034, but old clients ask so
            self._say(out, b"+OK\r\n" + stuffed([each.encode() for each in self._mechanisms()]))
            return None
        mechanism = name.decode("latin-1").upper()
        if mechanism not in self._mechanisms():
            raise PeerError("This mechanism is not offered")
        tls = self.context.peer.tls
        ours = sasl.start(mechanism, external_name=tls.client_name if tls else None)
        if ours is None:
            user = sasl.name_in(mechanism, sasl.decode_initial(initial)) if initial else ""
            return Wish(LoginAttempt(user, mechanism), initial or None)
        return self._after(ours, ours.step(sasl.decode_initial(initial) if initial else None), out)

    def _step(self, text: bytes, out: list[Decision]) -> Wish | None:
        ours, self._mechanism = self._mechanism, None
        assert ours is not None
        self._heard(out, b"<hidden>\r\n")
        return self._after(ours, ours.step(sasl.decode(text)), out)

    def _after(self, ours: sasl.ServerMechanism, said: sasl.Challenge | sasl.Credentials, out: list[Decision]) -> Wish | None:
        if isinstance(said, sasl.Challenge):
            self._mechanism = ours
            self._say(out, b"+ %b\r\n" % sasl.encode(said.data))
            return None
        return Wish(LoginAttempt(said.user, said.mechanism, said.password, said.authzid))


_COMMANDS = {
    "NOOP": Front._noop,
    "QUIT": Front._quit,
    "CAPA": Front._capa,
    "STLS": Front._stls,
    "UTF8": Front._utf8,
    "XCLIENT": Front._xclient,
    "USER": Front._user_name,
    "PASS": Front._pass,
    "APOP": Front._apop,
    "AUTH": Front._auth,
}
