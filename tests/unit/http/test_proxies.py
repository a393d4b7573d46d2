"""The client's address behind proxies."""

from __future__ import annotations

import pytest

from jit_middleware.http.proxies import TrustedProxies


@pytest.mark.parametrize("text", ["", "  ", "0"])
def test_by_default_nobody_is_trusted(text: str) -> None:
    for proxies in (TrustedProxies(), TrustedProxies.parse(text)):
        assert proxies.client("198.51.100.1", ["203.0.113.9"]) == "198.51.100.1"
        assert proxies.client(None, ["203.0.113.9"]) is None


@pytest.mark.parametrize(
    ("count", "forwarded_for", "client"),
    [
        ("1", ["203.0.113.9"], "203.0.113.9"),
        ("1", ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        ("1", ["6.6.6.6", "203.0.113.9"], "203.0.113.9"),
        ("2", ["6.6.6.6, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("2", ["203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        ("2", ["203.0.113.9"], "10.0.0.1"),  # a proxy was passed by
        ("1", [], "10.0.0.1"),
        ("1", [""], "10.0.0.1"),
        ("1", ["203.0.113.9, unknown"], "10.0.0.1"),
        ("1", ["203.0.113.9,"], "10.0.0.1"),
        ("1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("1", ["[2001:DB8::1]:4711"], "2001:db8::1"),
        ("1", ["[2001:db8::1]"], "2001:db8::1"),
        ("1", ["2001:db8:0::1"], "2001:db8::1"),
        ("1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("1", ["203.0.113.9:x"], "10.0.0.1"),
        ("1", ["203.0.113.9:123456"], "10.0.0.1"),
        ("1", ["[2001:db8::1]x"], "10.0.0.1"),
        ("1", ["[2001:db8::1]:"], "10.0.0.1"),
        ("1", ["fe80::1%<script>"], "10.0.0.1"),
        ("1", ["\u0662\u0660\u0663.0.113.9"], "10.0.0.1"),
        ("1", ["203.0.113.9\t "], "203.0.113.9"),
    ],
)
def test_with_a_count_the_address_that_the_outermost_proxy_saw_is_the_client(
    count: str, forwarded_for: list[str], client: str
) -> None:
    assert TrustedProxies.parse(count).client("10.0.0.1", forwarded_for) == client


def test_with_a_count_a_proxy_on_a_unix_socket_is_believed() -> None:
    assert TrustedProxies.parse("1").client(None, ["203.0.113.9"]) == "203.0.113.9"


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.9", "192.0.2.7", "10.9.9.9"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["6.6.6.6, junk, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("198.51.100.1", ["203.0.113.9"], "198.51.100.1"),
        ("192.0.2.8", ["203.0.113.9"], "192.0.2.8"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("2001:db8::7", ["2001:db9::1"], "2001:db9::1"),
        ("2001:db8::7%eth0", ["2001:db9::1"], "2001:db9::1"),
        ("testclient", ["203.0.113.9"], "testclient"),
        ("", ["203.0.113.9"], ""),
        (None, ["203.0.113.9"], None),
    ],
)
def test_with_networks_the_first_untrusted_address_from_the_right_is_the_client(
    peer: str | None, forwarded_for: list[str], client: str | None
) -> None:
    proxies = TrustedProxies.parse("10.0.0.0/8, 192.0.2.7,2001:db8::/32")
    assert proxies.client(peer, forwarded_for) == client


def test_a_network_of_mapped_addresses_means_the_ipv4_one() -> None:
    proxies = TrustedProxies.parse("::ffff:10.0.0.0/104")
    assert proxies.client("10.1.2.3", ["203.0.113.9"]) == "203.0.113.9"
    assert proxies.client("11.1.2.3", ["203.0.113.9"]) == "11.1.2.3"


def test_a_very_long_header_is_followed_for_a_while_only() -> None:
    proxies = TrustedProxies.parse("10.0.0.0/8")
    trusted = ", ".join(f"10.0.{hop // 256}.{hop % 256}" for hop in range(1000))
    assert proxies.client("10.0.0.1", [f"6.6.6.6, {trusted}"]) == "10.0.3.200"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0.0.0.0/0", "every address"),
        ("::/0", "every address"),
        ("::ffff:0:0/96", "every address"),
        ("10.0.0.0/8, 0.0.0.0/0", "every address"),
        ("0.0.0.0/1,128.0.0.0/1", "every address"),
        ("::/1,8000::/1", "every address"),
        ("10.0.0.1/8", "neither"),
        ("proxy.example.com", "neither"),
        ("10.0.0.0/8,", "neither"),
        ("-1", "neither"),
        ("1.5", "neither"),
        ("\u0662", "neither"),
        ("*", "neither"),
        ("33", "at most 32"),
        ("100000000000", "at most 32"),
    ],
)
def test_a_bad_setting_is_refused_with_a_sentence(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        TrustedProxies.parse(text)
