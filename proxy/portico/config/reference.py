"""docs/reference/settings.md, from the declarations.

Rule of this file: nothing about a setting is written here; it is read from settings.py. A test holds the committed page to
`page()`; ``python -m portico.config.reference`` prints it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from portico.config.schema import is_array, is_named, kind_of, model_in, possible, sections
from portico.config.show import value_text

EXAMPLE: Final = """\
# The server that Portico stands in front of.
[servers.mail]
imap = "mail.internal.example:143"
pop3 = "mail.internal.example:110"
tls = "starttls"
ca_file = "internal-ca.pem"

# A second one, for one domain; signed in to with a master user.
[servers.archive]
imap = "[2001:db8::5]:993"
tls = "implicit"
master_user = "portico"
master_password = {env = "ARCHIVE_PASSWORD"}

[listeners.imaps]
protocol = "imap"
addresses = ["0.0.0.0:993", "[::]:993"]
certificate = "mail.pem"
key = "mail.key"
server = "mail"
timeouts.idle = "45m"
limits.wrong_logins = 3

[[listeners.imaps.routes]]
users = ["*@archive.example"]
server = "archive"
user = "{local}"

[listeners.pop3]
protocol = "pop3"
addresses = ["0.0.0.0:110", "unix:/run/portico/pop3"]
tls = "starttls"
certificate = "mail.pem"
key = "mail.key"
server = "mail"

[limits]
sessions = 5000

[log]
level = "info"
"""
"""Shown on the page; a test loads it."""

_HEAD: Final = """\
# Settings

<!-- Made by `python -m portico.config.reference`; edit proxy/portico/config/settings.py instead. -->

Portico reads one TOML file: the one named by `-c`, else by `PORTICO_CONFIG`, else `./portico.toml`, else
`/etc/portico/portico.toml`. It is checked whole before anything starts: `portico check` prints every mistake with file, line
and key. `portico check --show` prints all settings that hold, defaults included.

* **Times** are written with a unit: `"500ms"`, `"30s"`, `"5m"`, `"2h"`, `"1d"`. A number without one is refused.
* **Sizes** are octets, or written with a unit: `65536`, `"64KiB"`, `"10MB"` (`KiB`, `MiB`, `GiB` count by 1024; `kB`, `MB`,
  `GB` by 1000).
* **Files**: a relative path starts at the directory of the settings file.
* **Secrets** are a text, `{file = "path"}` (a line end at its end is cut off), or `{env = "NAME"}`. They are never printed.
* **Addresses** are `"host:port"`, `"[v6]:port"` or `"unix:/path"`.
* **Names** in `<…>` are yours to choose.
* Options of plugins are told by `portico plugins` and by each plugin's own page.

## An example

```toml
"""


def page() -> str:
    """The whole page."""
    lines = [_HEAD + EXAMPLE + "```"]
    for heading, model in sections():
        lines += ["", f"## {_title(heading)}", "", _plain(model.__doc__ or ""), "", *_table(model)]
    return "\n".join(lines) + "\n"


def _title(heading: str) -> str:
    return f"`[{heading}]`" if heading else "The file"


def _plain(docstring: str) -> str:
    return " ".join(docstring.split())


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for key, field in model.model_fields.items():
        yield f"| `{key}` | {_cell(_type(field))} | {_default(field)} | {_cell(field.description or '')} |"


def _type(field: FieldInfo) -> str:
    kind, inner = kind_of(field), model_in(field)
    if inner is not None:
        what = inner.__name__
        return f"tables under names ({what})" if is_named(field) else f"array of tables ({what})" if is_array(field) else f"table ({what})"
    if kind:
        text = f"list of {kind}{'es' if kind.endswith('s') else 's'}" if is_array(field) else kind
    elif is_named(field):
        text = "tables under names"
    else:
        text = possible(field).removeprefix("a ")
    bounds = [f"{sign} {bound:g}" for sign, bound in _bounds(field) if not (kind and bound == 0)]
    return ", ".join([text, *bounds])


def _bounds(field: FieldInfo) -> Iterator[tuple[str, float]]:
    for item in field.metadata:
        for name, sign in (("ge", "at least"), ("gt", "more than")):
            bound = getattr(item, name, None)
            if isinstance(bound, int | float):
                yield sign, bound


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    if field.default_factory is not None:
        return "see below"
    value: Any = field.default
    if value is None:
        return "not set"
    return "none" if value in ([], {}) else f"`{value_text(value, kind_of(field))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(page(), end="")
