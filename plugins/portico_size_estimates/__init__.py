"""Fast message retrieval: the sizes of messages in a folder's list are told by estimate, and the server need not find them out.

Rule of this file: options and hooks; how sizes are guessed is in estimators.py. What Exchange had under "Fast Message Retrieval", and
EnableExactRFC822Size turned off: it is off unless the plugin is named on a listener, and never for those who are told the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from portico.plugin import Interests, Option, Session, Size, Sketch, hookimpl

from portico_size_estimates.estimators import Estimator, Fixed, Learned

__all__ = ["SizeEstimates"]


class SizeEstimates:
    """The plugin ``size_estimates``."""

    portico_interests = ("sizes",)

    def __init__(self) -> None:
        self._estimators: dict[tuple[object, ...], Estimator] = {}

    @hookimpl
    def settings_declared(self) -> Sequence[Option]:
        return [
            Option(
                "estimator",
                Literal["learned", "fixed"],
                "learned: from the true sizes of messages of the same kind in the same folder; fixed: always `fixed`.",
                "learned",
            ),
            Option("fixed", Size, "What is told where the estimator is fixed, and where nothing has been learned.", "8 KiB"),
            Option(
                "sample",
                int,
                "Of a folder in which no size is known, so many messages are asked for the truth first. 0: none.",
                100,
            ),
            Option(
                "off_by_at_most",
                float,
                "A folder of whose sample one size is further off than so many times too large or too small is told the truth, not "
                "estimates. 0: estimates all the same.",
                0.0,
            ),
            Option(
                "most",
                Size,
                "No estimate is larger: above such sizes mail programs fetch a message in pieces, and count on its size "
                "(Thunderbird from 96 KiB on).",
                "60 KiB",
            ),
            Option(
                "pop3",
                bool,
                "On a POP3 listener too: LIST and STAT by estimate. RFC 1939 wants exact numbers there, and mail programs count on them.",
                False,
            ),
            Option("users", list[str], "Patterns of the users for whom sizes are estimated.", ["*"]),
            Option("exact", list[str], "Patterns of users who are told the truth.", []),
            Option(
                "exact_clients",
                list[str],
                "Patterns of mail programs (the name in their IMAP ID) that are told the truth: those that take a size for the length "
                "of what they download.",
                ["Alpine*", "Roundcube*"],
            ),
        ]

    @hookimpl
    def settings_checked(self, options: Any) -> str | None:
        if options.sample < 0:
            return "sample is a number of messages, 0 or more"
        if options.off_by_at_most and options.off_by_at_most < 1:
            return "off_by_at_most is a factor, 1 or more, or 0"
        if options.off_by_at_most and (options.estimator == "fixed" or not options.sample):
            return "off_by_at_most goes by a sample, and there is none"
        if not 0 < options.fixed <= options.most:
            return "fixed is above most, or nothing"
        return None

    @hookimpl
    def session_opened(self, session: Session, options: Any) -> Interests | None:
        if (
            (session.protocol == "pop3" and not options.pop3)
            or not _named(session.user, options.users)
            or _named(session.user, options.exact)
        ):
            return None
        key = (session.listener, options.estimator, options.fixed, options.most, options.off_by_at_most)
        estimator = self._estimators.get(key)
        if estimator is None:
            fixed, most = int(options.fixed), int(options.most)
            learned = options.estimator == "learned"
            estimator = self._estimators[key] = Learned(fixed, most, options.off_by_at_most) if learned else Fixed(fixed)
        return Interests(sizer=Guess(estimator, options.sample if options.estimator == "learned" else 0, options.exact_clients))


class Guess:
    """The sizes of one session."""

    def __init__(self, estimator: Estimator, sample: int, exact_clients: Sequence[str]) -> None:
        self.sample = sample
        self._estimator = estimator
        self._exact_clients = exact_clients

    def serves(self, session: Session) -> bool:
        return not _named(session.client_id.get("name", ""), self._exact_clients)

    def learn(self, session: Session, sketch: Sketch, size: int) -> None:
        self._estimator.learn((session.server, session.user, sketch.mailbox), sketch, size)

    def confident(self, session: Session, mailbox: str) -> bool:
        return self._estimator.confident((session.server, session.user, mailbox))

    def estimate(self, session: Session, sketch: Sketch) -> int:
        return self._estimator.estimate((session.server, session.user, sketch.mailbox), sketch)


def _named(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)
