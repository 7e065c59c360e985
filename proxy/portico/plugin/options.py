"""Options of plugins: declared by the plugin, read from the settings, checked before anything starts.

Rule of this file: from declarations and a table of TOML to typed, frozen values or to problems; the checking is pydantic's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from portico.config.explain import explain
from portico.config.near import near
from portico.config.units import Duration, Reading, SecretText, Size

_REQUIRED: Final[Any] = object()
ENABLED: Final = "enabled"
"""Reserved: ``enabled = false`` in a listener's table switches a plugin off there."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `type`: str, int, bool, float, list[str], Duration, Size or SecretText of portico.plugin; anything pydantic knows."""

    name: str
    type: Any
    help: str
    default: Any = _REQUIRED
    """As it would stand in a file, or the value itself; None: not set. Without a default the option must be set."""
    unit: str = ""
    """For the reader, where the type does not say it."""

    @property
    def required(self) -> bool:
        return self.default is _REQUIRED

    @property
    def type_name(self) -> str:
        """As people say it, and as the reference of the settings does."""
        return _spoken(self.type)


def _spoken(kind: Any) -> str:
    for known, word in (
        (Duration, "time"),
        (Size, "size"),
        (SecretText, "secret"),
        (str, "text"),
        (bool, "true or false"),
        (int, "number"),
        (float, "number"),
    ):
        if kind == known:
            return word
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _spoken(inner[0])
    if dict in (kind, origin):
        return "table"
    if origin is Literal:
        return " or ".join(f'"{each}"' for each in inner)
    if origin is list and inner:
        return f"list of {_spoken(inner[0])}s"
    return getattr(kind, "__name__", str(kind))


class Values(BaseModel):
    """The values of a plugin's options on one listener, as attributes."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True, strict=True)


def model_of(plugin: str, options: Sequence[Option]) -> type[Values]:
    """The pydantic model of a plugin's options. Raises ValueError for a declaration that makes no sense."""
    fields: dict[str, Any] = {}
    for option in options:
        if not isinstance(option, Option):
            raise TypeError(f"{type(option).__name__} is no Option")
        if not option.name.isidentifier() or option.name.startswith("_") or option.name == ENABLED or option.name in fields:
            raise ValueError(f"option {option.name!r} cannot be declared: not a name, reserved, or declared twice")
        if not option.help:
            raise ValueError(f"option {option.name!r} has no help")
        default = ... if option.required else _default(option)
        fields[option.name] = (option.type, Field(default, description=option.help))
    return create_model(f"{plugin}_options", __base__=Values, **fields)


def _default(option: Option) -> Any:
    """As a value from a file would come out; None stays, whatever the type: not set. Raises ValueError."""
    if option.default is None:
        return None
    alone = cast(Any, create_model("alone", __base__=Values, default=(option.type, ...)))
    try:
        return alone(default=option.default).default
    except ValidationError:
        raise ValueError(f"the default of option {option.name}, {option.default!r}, is not of its type") from None


def read(model: type[Values], table: Mapping[str, Any], reading: Reading | None = None) -> tuple[Values | None, list[tuple[str, str]]]:
    """The values from a table, or (option, what is wrong) for each mistake. `reading`: where relative paths start."""
    if not isinstance(table.get(ENABLED, True), bool):
        return None, [(ENABLED, "true or false is expected")]
    try:
        return model.model_validate({key: value for key, value in table.items() if key != ENABLED}, context=reading), []
    except ValidationError as error:
        known = [*model.model_fields, ENABLED]
        problems = []
        for found in error.errors(include_input=False, include_url=False):
            key = str(found["loc"][0]) if found["loc"] else ""
            if found["type"] == "extra_forbidden":
                text = f"there is no such option; possible: {', '.join(sorted(known))}{near(key, known)}"
            elif found["type"] == "missing":
                text = "is needed"
            elif found["type"] == "value_error":
                text = found["msg"].removeprefix("Value error, ")
            else:
                text = explain(model, table, [found])[0].text
            problems.append((key, text))
        return None, problems
