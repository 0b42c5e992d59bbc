"""Which receivers are allowed: the checking function alone, with answers of a resolver that are given."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from anonymizer.service.webhooks.targets import RefusedTarget, allowed_addresses, is_own_header, parse

PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
FORBIDDEN = [
    # this machine
    "127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "0.1.2.3",
    # private networks, and those of carriers
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fc00::1", "fd12::1", "fec0::1",
    # link-local addresses and metadata services of clouds
    "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%2", "fd00:ec2::254", "100.100.100.200", "168.63.129.16",
    "192.0.0.192",
    # many machines at once
    "224.0.0.1", "239.1.1.1", "255.255.255.255", "ff02::1", "ff0e::1",
    # documents, measurements, reserved
    "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "240.0.0.1", "192.88.99.1", "2001:db8::1", "100::1",
    "3fff::1", "4000::1",
    # IPv4 in IPv6: mapped, compatible, translated, 6to4, Teredo, NAT64 (well known and local), ISATAP
    "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::10.0.0.1", "::127.0.0.1", "::ffff:0:10.0.0.1", "2002:a00:1::1",
    "2002:7f00:1::1", "2002:a9fe:a9fe::", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "64:ff9b::a00:1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2606:4700::5efe:a00:1", "2606:4700::200:5efe:a00:1",
]  # fmt: skip


def check(*answers: str, url: str = "https://receiver.example/", **kwargs: Any) -> list[str]:
    return allowed_addresses(parse(url), answers, **kwargs)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert check(address) == [address]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_all_others_are_refused(address: str) -> None:
    with pytest.raises(RefusedTarget, match=r"receiver\.example has the address"):
        check(address)


def test_one_bad_address_is_enough() -> None:
    with pytest.raises(RefusedTarget, match=r"10\.0\.0\.1"):
        check("8.8.8.8", "10.0.0.1")
    with pytest.raises(RefusedTarget, match="has no address"):
        check()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_allowed_where_the_server_is_on_loopback(address: str) -> None:
    assert check(address, loopback=True) == [address]


@pytest.mark.parametrize("address", ["10.0.0.1", "0.0.0.0", "::", "64:ff9b::7f00:1", "2002:7f00:1::1", "fe80::1"])
def test_and_nothing_else_is_allowed_by_that(address: str) -> None:
    with pytest.raises(RefusedTarget):
        check(address, loopback=True)


def test_networks_of_the_setting_are_allowed() -> None:
    networks = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8")]
    for address in ("10.1.2.3", "fd12::1", "::ffff:10.1.2.3"):
        assert check(address, allowed=networks) == [address]
    for address in ("10.2.0.1", "192.168.1.1", "fc00::1", "127.0.0.1", "::ffff:10.2.0.1"):
        with pytest.raises(RefusedTarget):
            check(address, allowed=networks)
    everything = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    for address in ("127.0.0.1", "::1", "0.0.0.0", "224.0.0.1"):
        with pytest.raises(RefusedTarget):
            check(address, allowed=everything)


@pytest.mark.parametrize(
    "host",
    [
        # other ways to write 127.0.0.1 and 169.254.169.254
        "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0177.1", "127.1", "127.0.1", "017700000001",
        "0xa9.0xfe.0xa9.0xfe", "2852039166", "1.1.1.1.1", "256.1.1.1", "1.0x1", "receiver.0x7f", "127.0.0.1.",
        "\N{FULLWIDTH DIGIT ONE}.0x1", "\N{FULLWIDTH DIGIT ONE}27.1",
        # no names
        "", "a..b", ".a", "a" * 64, "[::1", "::1", "[fe80::1%25eth0]", "exa mple", "a\x00b", "a\tb", "a%00b",
    ],
)  # fmt: skip
def test_misleading_hosts_are_refused(host: str) -> None:
    with pytest.raises(RefusedTarget):
        parse(f"http://{host}/x")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/", "file:///etc/passwd", "gopher://a.example/", "//a.example/", "a.example/x", "", "http:",
        "http:///x", "http://a.example:0/", "http://a.example:99999/", "http://a.example:x/", "http://u:p@a.example/",
        "http://a.example@10.0.0.1/", "http://a.example\\@10.0.0.1/", "http://a.example/\x00",
        "http://a.example/\r\nX: y",
        "http://a.example/" + "x" * 2000, "http://a.example/\u2028",
    ],
)  # fmt: skip
def test_addresses_that_are_no_webhook_are_refused(url: str) -> None:
    with pytest.raises(RefusedTarget):
        parse(url)


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "header"),
    [
        ("https://Receiver.Example/a?b=c#d", "receiver.example", 443, "/a?b=c", "receiver.example"),
        ("http://receiver.example:8080", "receiver.example", 8080, "/", "receiver.example:8080"),
        ("http://[2606:4700::1111]:81/x", "2606:4700::1111", 81, "/x", "[2606:4700::1111]:81"),
        ("http://8.8.8.8/ü y".replace(" ", "%20"), "8.8.8.8", 80, "/%C3%BC%20y", "8.8.8.8"),
        ("http://my_service/", "my_service", 80, "/", "my_service"),
        ("https://größe.example/", "xn--gre-6ka8i.example", 443, "/", "xn--gre-6ka8i.example"),
    ],
)
def test_good_addresses_are_taken_apart(url: str, host: str, port: int, path: str, header: str) -> None:
    receiver = parse(url)
    assert (receiver.host, receiver.port, receiver.path, receiver.header) == (host, port, path, header)


@pytest.mark.parametrize(
    "name",
    ["Host", "hOST", "Content-Length", "Content_Length", "Transfer-Encoding", "Transfer_Encoding", "Connection",
     "Keep-Alive", "TE", "Trailer", "Upgrade", "Proxy-Authorization", "Expect", "Content-Type", "Content-Encoding",
     "X-Anonymizer-Signature", "x-anonymizer-event", "X_Anonymizer_Delivery", "X-Anonymizer-Other"],
)  # fmt: skip
def test_headers_of_the_connection_and_of_this_server_are_not_for_callers(name: str) -> None:
    assert is_own_header(name)


@pytest.mark.parametrize("name", ["Authorization", "X-Key", "Cookie", "User-Agent", "X-Anonymiser"])
def test_other_headers_are(name: str) -> None:
    assert not is_own_header(name)
