"""What all sections of the settings have in common.

Rule of this file: how strict they are, nothing else.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        strict=True,  # "yes" is not true, and "5" is not 5
        extra="forbid",
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )
