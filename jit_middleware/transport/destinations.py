"""Where requests may go: which URLs, and which addresses behind their names (CWE-918)."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from jit_middleware.errors import ProviderUnavailable
from jit_middleware.records import dataclass

_PLAIN: Final = re.compile(r"[A-Za-z0-9!$%&'()*+,\-./:;=?@\[\]_~]{8,8192}")
_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_][a-z0-9_-]{0,62}(?:\.[a-z0-9_][a-z0-9_-]{0,62})*")

#: Instance metadata services outside the ranges below: Azure, Alibaba, Oracle, AWS over IPv6.
_METADATA: Final = frozenset(map(ip_address, ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")))
_NEVER: Final = tuple(map(ip_network, ("0.0.0.0/8", "240.0.0.0/4")))
_NAT64: Final = ip_network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be fetched, taken apart."""

    scheme: str
    host: str
    port: int
    path: str
    host_header: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a connection serves, and nothing else."""
        return self.scheme, self.host, self.port


@dataclass(frozen=True, slots=True)
class Destinations:
    """The rules of one transport. Hosts are lower case, IPv6 addresses without brackets.

    ``insecure_hosts`` may be spoken to over http if they are this machine; ``private_hosts`` may have addresses that
    are private or loopback ones; ``proxy_host`` is the operator's own and not judged.
    """

    insecure_hosts: frozenset[str]
    private_hosts: frozenset[str]
    proxy_host: str | None = None

    @classmethod
    def of(cls, insecure_hosts: Collection[str], private_hosts: Collection[str], proxy: str | None) -> Destinations:
        return cls(
            frozenset(_bare(host) for host in insecure_hosts),
            frozenset(_bare(host) for host in private_hosts),
            urlsplit(proxy).hostname if proxy else None,
        )

    def check_url(self, url: str) -> Target:
        """The URL taken apart; raises ``ProviderUnavailable("url_forbidden")``."""
        if not _PLAIN.fullmatch(url):
            raise _forbidden("characters that no URL has")
        try:
            parts = urlsplit(url)
            port = parts.port
            host = parts.hostname or ""
        except ValueError:
            raise _forbidden("host or port cannot be read") from None
        address = as_address(host)
        if "@" in parts.netloc or port == 0 or not (_NAME.fullmatch(host) or isinstance(address, IPv6Address)):
            raise _forbidden("no plain host")
        insecure = parts.scheme == "http" and host in self.insecure_hosts and _means_this_machine(host)
        if parts.scheme != "https" and not insecure:
            raise _forbidden(f"not https: {host}")
        if address is not None:
            self.check_address(host, address, loopback_only=insecure)
        shown = f"[{host}]" if ":" in host else host
        return Target(
            scheme=parts.scheme,
            host=host,
            port=port or (80 if insecure else 443),
            path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            host_header=shown if port is None else f"{shown}:{port}",
        )

    def check_address(self, host: str, address: Address, *, loopback_only: bool) -> None:
        """Refuse an address that is no provider's; the operator may vouch for a host inside, by its name."""
        real = _embedded(address)
        never = real.is_link_local or real.is_multicast or real.is_unspecified or real in _METADATA
        if never or any(real in network for network in _NEVER):
            raise _forbidden(f"the address of {host} is never a provider's")
        if loopback_only and not real.is_loopback:
            raise _forbidden(f"http, and {host} is not this machine")
        if not real.is_global and host not in self.private_hosts:
            raise _forbidden(f"the address of {host} is private")

    def usable(self, host: str, found: Sequence[str], *, loopback_only: bool) -> list[str]:
        """Those of the resolved addresses that may be connected to, at least one, each once."""
        if host == self.proxy_host:
            return list(dict.fromkeys(found))
        allowed: list[str] = []
        refusal = ProviderUnavailable("unreachable", f"{host} has no address")
        for text in dict.fromkeys(found):
            address = as_address(text)
            if address is None:
                continue
            try:
                self.check_address(host, address, loopback_only=loopback_only)
            except ProviderUnavailable as forbidden:
                refusal = forbidden
            else:
                allowed.append(text)
        if not allowed:
            raise refusal
        return allowed


def as_address(host: str) -> Address | None:
    """The IP address that this text is, if it is one."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _means_this_machine(host: str) -> bool:
    address = as_address(host)
    return address.is_loopback if address else host == "localhost" or host.endswith(".localhost")


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (mapped, 6to4, NAT64), else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _bare(host: str) -> str:
    return host.lower().strip("[]")


def _forbidden(detail: str) -> ProviderUnavailable:
    return ProviderUnavailable("url_forbidden", detail)
