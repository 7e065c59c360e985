"""What is measured, one method each.

Rule of this file: a method runs the load once and notes figures, or notes why it could not; it never lets a wrong
answer count as a fast one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailbench import dovecot
from mailbench.load import Load, Sample, Target
from mailbench.plan import GIB, MIB, Plan

_LIST_COMMAND = "UID FETCH 1:* (UID FLAGS RFC822.SIZE ENVELOPE)"
_LINKS_LIST_COMMAND = "FETCH 1:* (FLAGS RFC822.SIZE ENVELOPE BODYSTRUCTURE)"
_GUESSER = "127.0.9.1"
_LEAST_LISTED = 200
"""Octets that one listed message has at least."""


@dataclass(slots=True, frozen=True)
class Row:
    target: str
    metric: str
    round: int
    value: float


class Measures:
    """Runs measures on targets; `rows` and `notes` are what came out."""

    def __init__(self, plan: Plan, load: Load, ordinary: int = 0) -> None:
        """`ordinary`: octets of the ordinary mail that there is (dovecot.make_links_mailboxes)."""
        self.plan = plan
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.foreign: list[float] = []
        self.round = 0
        self.load = load
        self._ordinary = ordinary

    def run(self, mode: str, target: Target, **options: str | float | bool | None) -> Sample:
        sample = self.load.run(mode, target, **options)  # type: ignore[arg-type]
        self.foreign.append(sample.foreign_cores)
        return sample

    def note(self, target: Target, metric: str, value: float) -> None:
        self.rows.append(Row(target.name, metric, self.round, value))

    def refused(self, target: Target, what: str, sample: Sample) -> None:
        """Say why a sample does not count."""
        self.notes.append(f"{target.name}: {what}: failed {sample.failed}, timed out {sample.timeout}, {sample.why} {sample.backend or ''}")

    def sanity(self, target: Target) -> bool:
        """A right password gets in and a wrong one does not. A target without POP3 is measured without it."""
        if target.store:  # each process asks once what the store can do, and signs in there for that
            self.run("cmd", target, n=64 * 100, conns=64, cmd="NOOP", timeout=20)
        for pop3 in (False, True):
            right = self.run("setup", target, pop3=pop3, n=64, conns=8, timeout=20)
            if not right.clean or right.finished != 64 or (self.load.counts and right.backend.get("logins") != 64):
                self.refused(target, "POP3 sign-in" if pop3 else "IMAP sign-in", right)
                if not pop3:
                    return False
                target.speaks_pop3 = False
        # From an address of its own: a proxy may let all who come from there wait for it, and others are measured later.
        wrong = self.run("setup", target, n=2, conns=2, timeout=40, src=_GUESSER, **{"pass": "wrong"})
        if wrong.finished or wrong.failed != 2:
            self.refused(target, "a wrong password", wrong)
            return False
        return True

    def measure(self, name: str, target: Target) -> None:
        methods: dict[str, Callable[[Target], None]] = {
            "login": lambda at: self._login(at, "login"),
            "resumed": lambda at: self._login(at, "resumed", resume=True) if at.tls else None,
            "pop3_login": lambda at: self._login(at, "pop3_login", pop3=True),
            "fetch": lambda at: self._download(at, pop3=False),
            "retr": lambda at: self._download(at, pop3=True),
            "append": self._append,
            "list": self._list,
            "mail": self._mail,
            "mail_each": self._mail_each,
            "pop3_mail": self._pop3_mail,
            "list_first": self._list_first,
            "list_again": self._list_again,
            "mail_list": self._mail_list,
            "command": self._command,
            "commands": lambda at: self._commands(at, 64),
            "commands128": lambda at: self._commands(at, 128),
            "logins64": lambda at: self._login(at, "logins64", at_once=64),
            "logins128": lambda at: self._login(at, "logins128", at_once=128),
        }
        if target.speaks_pop3 or name not in ("pop3_login", "retr", "pop3_mail"):
            methods[name](target)

    def _login(self, target: Target, metric: str, *, resume: bool = False, pop3: bool = False, at_once: int = 32) -> None:
        count = self.plan.sessions
        sample = self.run("setup", target, pop3=pop3, n=count, conns=at_once, resume=resume, nsrc=4)
        if not sample.clean or (self.load.counts and sample.backend.get("logins") != count):
            self.refused(target, metric, sample)
        elif resume and sample.resumed < count * 0.9 - 32:
            self.notes.append(f"{target.name}: {metric}: only {sample.resumed} of {count} sessions were resumed")
        else:
            if at_once == 32:
                self.note(target, f"{metric}_ms", sample.proxy_cpu / count * 1e3)
            self.note(target, f"{metric}_per_s", count / sample.wall)

    def _download(self, target: Target, *, pop3: bool) -> None:
        size, count, metric = self.plan.big, self.plan.downloads, "retr" if pop3 else "fetch"
        mailbox, command = (None, "RETR 1") if pop3 else (f"SIZE-{size}", "FETCH 1 (BODY.PEEK[])")
        sample = self.run(
            "cmd", target, pop3=pop3, n=count, conns=1, user="big", mailbox=mailbox, cmd=command, expect_lit=size,
            nocompare=not self.load.counts,
        )  # fmt: skip
        if not sample.clean or sample.cmds != count or sample.literal_bytes != size * count:
            self.refused(target, metric, sample)
            return
        self.note(target, f"{metric}_s_gib", sample.proxy_cpu / (size * count / GIB))
        self.note(target, f"{metric}_mib_s", size * count / MIB / sample.cmd_wall)

    def _append(self, target: Target) -> None:
        size, count = self.plan.upload, self.plan.uploads
        sample = self.run("append", target, n=count, conns=1, user="big", bytes=size, mailbox="UP")
        if not sample.clean or sample.cmds != count or (self.load.counts and sample.backend.get("appended") != size * count):
            self.refused(target, "append", sample)
            return
        self.note(target, "append_s_gib", sample.proxy_cpu / (size * count / GIB))
        self.note(target, "append_mib_s", size * count / MIB / sample.cmd_wall)

    def _list(self, target: Target) -> None:
        self._listings(target, "list", self.plan.lists, user="big", mailbox=f"LIST-{dovecot.BIG_LIST}")

    def _mail_list(self, target: Target) -> None:
        """The same of ordinary mail, by an account whose mail the proxy has seen."""
        self._listings(target, "mail_list", max(1, self.plan.lists // 4), user=f"list{self.round + 1}")

    def _listings(self, target: Target, metric: str, count: int, **options: str) -> None:
        messages = dovecot.BIG_LIST
        sample = self.run("cmd", target, n=count, conns=1, cmd=_LIST_COMMAND, expect_untagged=messages, **options)
        if not sample.clean or sample.cmds != count or sample.bytes_in < messages * count * _LEAST_LISTED:
            self.refused(target, metric, sample)
            return
        self.note(target, f"{metric}_s_gib", sample.proxy_cpu / (sample.bytes_in / GIB))
        self.note(target, f"{metric}_mib_s", sample.bytes_in / MIB / sample.cmd_wall)

    def _mail(self, target: Target) -> None:
        """Ordinary mail, all by one command."""
        count, octets = self.plan.mails, self._ordinary
        command = f"FETCH 1:{dovecot.ORDINARY} (UID FLAGS BODY.PEEK[])"
        sample = self.run("cmd", target, n=count, conns=1, user="mail", cmd=command, expect_lit=octets, nocompare=True)
        if not sample.clean or sample.cmds != count:
            self.refused(target, "mail", sample)
            return
        self.note(target, "mail_s_gib", sample.proxy_cpu / (octets * count / GIB))

    def _mail_each(self, target: Target) -> None:
        """The same, a command for each message."""
        self._each(target, "mail_each", "FETCH # (UID FLAGS BODY.PEEK[])", pop3=False)

    def _pop3_mail(self, target: Target) -> None:
        """The same by POP3; each message is new to the session."""
        self._each(target, "pop3_mail", "RETR #", pop3=True)

    def _each(self, target: Target, metric: str, command: str, *, pop3: bool) -> None:
        sessions = 4
        count = dovecot.ORDINARY * sessions
        sample = self.run(
            "cmd", target, pop3=pop3, n=count, conns=sessions, user="mail", cmd=command, numbers=dovecot.ORDINARY, nocompare=True
        )
        if not sample.clean or sample.cmds != count or sample.literal_bytes != self._ordinary * sessions:
            self.refused(target, metric, sample)
            return
        self.note(target, f"{metric}_us", sample.proxy_cpu / count * 1e6)

    def _list_first(self, target: Target) -> None:
        """A session that signs in and lists a mailbox that the proxy has not seen: the account is another one in each round."""
        self._listed(target, "list_first_ms", 1)

    def _list_again(self, target: Target) -> None:
        """Sessions of the same account, after `list_first`."""
        self._listed(target, "list_again_ms", max(1, self.plan.lists // 4))

    def _listed(self, target: Target, metric: str, sessions: int) -> None:
        total = 0.0
        for _ in range(sessions):
            sample = self.list_once(target, self.round + 1)
            if not sample.clean or sample.cmds != 1 or sample.bytes_in < dovecot.BIG_LIST * _LEAST_LISTED:
                self.refused(target, metric, sample)
                return
            total += sample.proxy_cpu
        self.note(target, metric, total / sessions * 1e3)

    def list_once(self, target: Target, reader: int) -> Sample:
        """One session of the account ``list<reader>``: sign in, select, list all."""
        return self.run("cmd", target, n=1, conns=1, user=f"list{reader}", cmd=_LINKS_LIST_COMMAND, expect_untagged=dovecot.BIG_LIST)

    def _command(self, target: Target) -> None:
        """One session alone, one command after the other."""
        sample = self.run("cmd", target, n=self.plan.commands, conns=1, cmd="NOOP", max_s=4)
        if not sample.clean or sample.cmds < 50:
            self.refused(target, "command", sample)
            return
        self.note(target, "command_us", sample.proxy_cpu / sample.cmds * 1e6)
        self.note(target, "command_p50_us", sample.p50_us)
        self.note(target, "command_p99_us", sample.p99_us)

    def _commands(self, target: Target, sessions: int) -> None:
        """So many sessions at once, each one command after the other."""
        each = max(1, self.plan.commands * 3 // sessions)
        sample = self.run("cmd", target, n=each * sessions, conns=sessions, cmd="NOOP", max_s=6)
        if not sample.clean or sample.cmds < 640:
            self.refused(target, f"commands, {sessions} sessions", sample)
            return
        if sessions == 64:
            self.note(target, "commands_us", sample.proxy_cpu / sample.cmds * 1e6)
        self.note(target, f"commands{sessions}_per_s", sample.cmds / sample.cmd_wall)
