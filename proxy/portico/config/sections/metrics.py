"""[metrics]: what Prometheus and those who look after health may ask.

Rule of this file: declarations only; what must fit together is in config/check_metrics.py.
"""

from __future__ import annotations

from pydantic import Field

from portico.config.sections.base import Settings
from portico.config.units import Address


class Metrics(Settings):
    """An HTTP endpoint with /metrics (for Prometheus), /healthz and /readyz. It knows no passwords and no TLS: whoever can reach it can
    read it."""

    address: Address | None = Field(
        None, description='Where it listens: "localhost:9110", "[::1]:9110" or "unix:/path". Default: nowhere, and nothing is timed.'
    )
    public: bool = Field(False, description="The address may be one that other machines can reach.")
