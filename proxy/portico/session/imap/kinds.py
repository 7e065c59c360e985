"""Untagged responses of a server by what they are about."""

from __future__ import annotations

from typing import Final

NEWS: Final = frozenset(["EXISTS", "RECENT", "EXPUNGE", "VANISHED", "FETCH", "FLAGS", "SEARCH", "SORT", "THREAD", "ESEARCH"])
"""Responses about the selected mailbox (RFC 9051 7.3, 7.4)."""
NAMING: Final = frozenset(["LIST", "LSUB", "STATUS", "ACL", "MYRIGHTS", "LISTRIGHTS", "QUOTAROOT", "QUOTA", "METADATA"])
"""Responses that name a mailbox, or a quota root."""
NOT_THE_CLIENTS: Final = frozenset(["CAPABILITY", "ENABLED", "ID", "BYE", "NAMESPACE", "LANGUAGE"])
"""Responses of a store that are of its connection only."""
LISTS: Final = frozenset(["LIST", "LSUB"])
