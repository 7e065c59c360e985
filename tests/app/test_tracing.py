"""What an operator's trace keeps for him, and what it never shows."""

from __future__ import annotations

from portico.app.tracing import Tap
from portico.session.context import Peer, SessionView


def view(session: str = "s1", protocol: str = "imap") -> SessionView:
    return SessionView(session, protocol, "imaps", Peer("192.0.2.7", 5000, "192.0.2.1", 993), user="alice")  # type: ignore[arg-type]


def texts(tap: Tap) -> list[str]:
    return [line["text"] for line in tap.lines]


def test_a_trace_that_nobody_reads_keeps_only_so_much_also_of_sessions_that_end() -> None:
    tap = Tap(user="alice")
    for number in range(5000):
        tap.end(view(f"s{number}"))
    assert len(tap.lines) == 2000 and tap.lost == 3000 and not tap.over
    tap.lines.clear()
    tap.end(view())
    assert texts(tap) == ["(3000 lines not shown)", "(the session has ended)"]


def test_a_sign_in_in_a_tunnel_is_left_out_however_it_is_cut_until_it_is_answered() -> None:
    whole = b"a1 NOOP\r\na2 LOGIN {5}\r\nalice {6}\r\nsecret\r\na3 AUTHENTICATE PLAIN\r\nAGFsaWNlAHNlY3JldA==\r\n"
    for cut in range(len(whole)):
        tap = Tap(user="alice")
        tap.take(view(), "C>", whole[:cut])
        tap.take(view(), "C>", whole[cut:])
        tap.take(view(), "<C", b"a1 OK\r\na2 OK\r\n+ \r\na3 OK\r\n")
        tap.take(view(), "C>", b"a4 NOOP\r\n")
        shown = texts(tap)
        assert not any(word in line for line in shown for word in ("secret", "AGFs")), (cut, shown)
        assert shown[:2] == ["a1 NOOP", "a2 LOGIN <hidden>"] and shown[-1] == "a4 NOOP"


def test_of_pop3_neither_name_nor_password_is_shown() -> None:
    tap = Tap(user="alice")
    for line in (
        b"USER alice\r\n",
        b"PASS secret words\r\n",
        b"APOP alice c4c9334bac560ecc979e58001b3e22fb\r\n",
        b"AUTH PLAIN\r\nAGFs\r\n",
    ):
        tap.take(view(protocol="pop3"), "C>", line)
    tap.take(view(protocol="pop3"), "<C", b"+OK\r\n")
    tap.take(view(protocol="pop3"), "C>", b"STAT\r\n")
    assert texts(tap) == ["USER <hidden>", "PASS <hidden>", "APOP <hidden>", "AUTH <hidden>", "<hidden>", "+OK", "STAT"]


def test_the_end_of_a_secret_line_that_is_very_long_is_not_shown_either() -> None:
    tap = Tap(user="alice")
    tap.take(view(), "C>", b"a1 LOGIN alice " + b"x" * 5000)
    tap.take(view(), "C>", b"y" * 5000)
    tap.take(view(), "C>", b"secret\r\n")
    assert texts(tap) == ["a1 LOGIN <hidden>"]
