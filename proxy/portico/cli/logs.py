"""``portico logs``.

Rule of this file: files and a question in, the answer on standard output; what is not a line of the log is said on standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portico.cli.output import console, say, warn

if TYPE_CHECKING:
    from portico.logs.reading import Answer

_NAMES = ("events", "logins", "failed", "slow", "closed", "traffic", "shown", "folders", "plugins", "servers", "hours")
"""Of logs.questions, which is loaded when it is needed (a test holds them together)."""


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option(
    "-q", "--question", "questions", multiple=True, type=click.Choice(_NAMES), help="What to answer; may be repeated. Default: all."
)
@click.option("--sql", metavar="SELECT", help="A question of your own, over the table log with a column for each field.")
@click.option("--since", metavar="TIME", help="Lines from then on: 2026-03-01, 2026-03-01T09:30, in UTC unless it says otherwise.")
@click.option("--until", metavar="TIME", help="Lines before then.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Rows of each answer. Default: 10 in tables, else all.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True, help="How it looks.")
def logs(
    files: Sequence[Path],
    questions: Sequence[str],
    sql: str | None,
    since: str | None,
    until: str | None,
    top: int | None,
    form: str,
) -> None:
    """Answer questions from log files: logins, failures, traffic, plugins.

    FILE is a log of JSON lines, rotated and compressed ones too (.gz, .zst); - or none is standard input.
    """
    from portico.logs.questions import QUESTIONS
    from portico.logs.reading import Logs, moment

    if sql is not None and questions:
        raise click.UsageError("--sql and --question exclude each other")
    names = list(dict.fromkeys(questions)) or list(_NAMES)
    if form == "csv" and sql is None and len(names) > 1:
        raise click.UsageError("CSV is one table: name one --question")
    if not files and sys.stdin.isatty():
        raise click.UsageError("name the log files, or give one on standard input")
    here = [path for path in files if str(path) != "-"]
    stdin = sys.stdin.buffer if len(here) < len(files) or not files else None
    limit = top if top is not None else 10 if form == "table" else None
    with Logs(here, stdin=stdin, since=moment(since) if since else None, until=moment(until) if until else None) as found:
        if sql is not None:
            answers = [("sql", found.ask(sql, limit))]
        else:
            asked = [QUESTIONS[name] for name in names]
            if len(asked) > 1:
                found.copy([column for question in asked for column in question.columns])
            answers = [(question.name, found.ask(question.sql, limit)) for question in asked]
        rejected = found.rejected()
    _print(answers, form, {name: question.title for name, question in QUESTIONS.items()})
    if rejected:
        warn([f"{rejected} line{'s are' if rejected > 1 else ' is'} not of Portico's log, or damaged"])


def _print(answers: Sequence[tuple[str, Answer]], form: str, titles: dict[str, str]) -> None:
    from portico.logs.showing import as_csv, as_json

    if form == "json":
        click.echo(as_json(answers))
    elif form == "csv":
        click.echo(as_csv(answers[0][1]), nl=False)
    else:
        for number, (name, answer) in enumerate(answers):
            if len(answers) > 1:
                say(f"{chr(10) if number else ''}{titles[name]} ({name})")
            if answer.rows:
                _table(answer)
            else:
                say("nothing")


def _table(answer: Answer) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from portico.logs.showing import cells

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    numbers = [
        all(row[place] is None or isinstance(row[place], int | float) for row in answer.rows) for place in range(len(answer.columns))
    ]
    for heading, is_number in zip(answer.columns, numbers, strict=True):
        table.add_column(heading, overflow="fold", justify="right" if is_number else "left")
    for row in cells(answer):
        table.add_row(*map(Text, row))
    console().print(table)
