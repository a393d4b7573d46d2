"""Who the client is behind proxies: ``X-Forwarded-For`` is believed only as far back as proxies we were told of.

Nothing else is derived from a forwarded header. Our own URLs come from the public URL of the configuration.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final, TypeAlias

from jit_middleware.records import dataclass

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_HOPS: Final = 32
"""Proxies in a row that are followed, at most."""

_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The proxies in front of us: how many (``count``), or which (``networks``); by default none at all.

    >>> TrustedProxies.parse("10.0.0.0/8").client("10.0.0.7", ["203.0.113.9, 10.1.1.1"])
    '203.0.113.9'
    """

    count: int = 0
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> TrustedProxies:
        """Read ``"2"`` (that many proxies) or ``"10.0.0.0/8, 2001:db8::/32"``; empty text trusts nobody.

        Raises ``ValueError`` with a sentence. Trusting every address is refused: anybody could then be anybody.
        """
        text = text.strip()
        if not text:
            return cls()
        if text.isascii() and text.isdigit():
            if len(text) > 2 or int(text) > MAX_HOPS:
                raise ValueError(f"The number of trusted proxies is at most {MAX_HOPS}, not {text}.")
            return cls(count=int(text))
        networks = tuple(_network(part.strip()) for part in text.split(","))
        if _cover_everything(networks):
            raise ValueError(f"The trusted proxies {text!r} cover every address; name your own only.")
        return cls(networks=networks)

    def client(self, peer: str | None, forwarded_for: Sequence[str]) -> str | None:
        """The address of the client: the last one that a proxy we trust vouches for.

        ``peer`` is who is connected to the server (``None`` on a unix socket), ``forwarded_for`` the values of all
        ``X-Forwarded-For`` headers in order. Without trust, or when the header does not hold what the trusted proxies
        would have written, the answer is ``peer``. Addresses from the header come back in their canonical form.
        """
        if self.count:
            hops = _hops(forwarded_for)
            client = _address(hops[-self.count]) if len(hops) >= self.count else None
            return peer if client is None else str(client)
        if not self.networks:
            return peer
        address = _address(peer.partition("%")[0]) if peer else None
        if address is None or not self._trusts(address):
            return peer
        for hop in reversed(_hops(forwarded_for)):
            previous = _address(hop)
            if previous is None:
                break
            address = previous
            if not self._trusts(address):
                break
        return str(address)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        message = f"{text!r} is neither a number of proxies nor an address or network such as 10.0.0.0/8."
        raise ValueError(message) from error
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        base = ipaddress.IPv4Address(int(network.network_address) & 0xFFFF_FFFF)
        return ipaddress.IPv4Network((base, network.prefixlen - 96))
    return network


def _cover_everything(networks: Sequence[Network]) -> bool:
    """Whether these networks together are all of IPv4 or all of IPv6 (two halves of it are)."""
    v4 = ipaddress.collapse_addresses([network for network in networks if isinstance(network, ipaddress.IPv4Network)])
    v6 = ipaddress.collapse_addresses([network for network in networks if isinstance(network, ipaddress.IPv6Network)])
    return any(network.prefixlen == 0 for network in v4) or any(network.prefixlen == 0 for network in v6)


def _hops(forwarded_for: Sequence[str]) -> list[str]:
    """The entries, oldest first; what lies further back than ``MAX_HOPS`` stays in one piece, which is no address."""
    return [entry.strip(" \t") for entry in ",".join(forwarded_for).rsplit(",", MAX_HOPS)]


def _address(text: str) -> Address | None:
    """The address in one entry; some proxies add a port, ``192.0.2.1:4711`` or ``[2001:db8::1]:4711``."""
    if text.startswith("["):
        text, _, port = text[1:].partition("]")
        if port and not _is_port(port):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(":" + port):
            return None
    if "%" in text:  # a zone id is free text
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_port(text: str) -> bool:
    return text[:1] == ":" and 0 < len(text) - 1 <= 5 and text.isascii() and text[1:].isdigit()
