"""Lists of networks from the settings.

Rule of this file: an address is in the list or not; nothing is resolved. An IPv4 address mapped into IPv6 is the IPv4 address; the empty
address is that of a unix socket.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable


class Networks:
    """`texts` as config.sections.penalties.Network has checked them."""

    __slots__ = ("_networks", "_unix")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        texts = list(texts)
        self._unix = "unix" in texts
        self._networks = tuple(ipaddress.ip_network(text) for text in texts if text != "unix")

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def __repr__(self) -> str:
        return f"<Networks {' '.join(map(str, self._networks)) or 'none'}{' unix' if self._unix else ''}>"

    def __contains__(self, rip: str) -> bool:
        if not rip:
            return self._unix
        if not self._networks:
            return False
        try:
            address = ipaddress.ip_address(rip.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)
