"""redis-py, asked for the Redis of the settings.

Rule of this file: whoever needs Redis takes it from here. redis-py is imported only then: who shares nothing pays nothing for it.
"""

from __future__ import annotations

from typing import Any

from portico.config.sections.shared import Shared
from portico.errors import SettingsError


def redis_client(settings: Shared, *, asynchronous: bool = False, once_more: bool = False, **options: Any) -> Any:
    """A Redis of redis-py, or of its asyncio, that connects when it is first asked. `once_more`: a question of which nothing came is
    asked again. Raises SettingsError without redis-py, and for a URL that it does not take."""
    try:
        import redis.asyncio
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise SettingsError(['shared.redis: this needs redis-py: pip install "portico-mail[redis]"']) from None
    assert settings.redis is not None
    url = settings.redis.reveal().decode("utf-8")
    if url.startswith("rediss:") and settings.ca_file:
        options["ssl_ca_certs"] = settings.ca_file
    kind: Any = redis.asyncio.Redis if asynchronous else redis.Redis
    try:
        return kind.from_url(url, retry=Retry(NoBackoff(), 1) if once_more else None, **options)
    except ValueError as error:
        raise SettingsError([f"shared.redis: {type(error).__name__}: the URL cannot be used"]) from None
