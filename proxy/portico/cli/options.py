"""Options of plugins in a settings file.

Rule of this file: the plugins' host says what is wrong; here it gets its line.
"""

from __future__ import annotations

from portico.config.load import Loaded


def check_options(loaded: Loaded) -> None:
    """SettingsError with a line for each option that its plugin does not take."""
