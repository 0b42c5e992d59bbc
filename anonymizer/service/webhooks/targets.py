"""Which receivers a webhook may have. No caller may use this server to reach machines that are not public."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from anonymizer.pipeline.errors import InvalidParameter

__all__ = [
    "FORBIDDEN_HEADERS",
    "Network",
    "Receiver",
    "RefusedTarget",
    "allowed_addresses",
    "check_header_value",
    "is_own_header",
    "parse",
]

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

MAX_URL = MAX_HEADER_VALUE = 2000
#: headers of one connection only (RFC 9110, section 7.6.1), and those that this server sets
FORBIDDEN_HEADERS = frozenset(
    "connection content-encoding content-length content-type expect host keep-alive proxy-authenticate "
    "proxy-authorization proxy-connection te trailer transfer-encoding upgrade".split()
)
OWN_PREFIX = "x-anonymizer-"

#: what `is_global` of Python 3.11 lets through: a metadata service, relays, and networks for documents or tunnels
_MORE_FORBIDDEN = tuple(
    map(
        ipaddress.ip_network,
        ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4", "3fff::/20", "2001::/23"),
    )
)
#: the only IPv6 addresses that were given to public networks
_PUBLIC_V6 = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")
_TRANSLATED = ipaddress.ip_network("::ffff:0:0:0/96")
_ISATAP = (0x00005EFE, 0x02005EFE)
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")


class RefusedTarget(ValueError):
    """A webhook must not be sent to this address; `str(error)` says why."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """The parts of a webhook's address.

    Attributes:
        scheme: `http` or `https`.
        host: the name, in ASCII and lower case, or the IP address without brackets.
        port: 1..65535.
        path: path and query, as they are sent.
        header: the value of the header `Host`.
    """

    scheme: str
    host: str
    port: int
    path: str
    header: str

    @property
    def address(self) -> Address | None:
        """The IP address, if the host is one."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


def parse(url: str) -> Receiver:
    """Take the address of a webhook apart.

    Raises:
        RefusedTarget: it is no http or https address, or its host is written in a misleading way.
    """
    if len(url) > MAX_URL or not url.isprintable() or " " in url or "\\" in url:
        raise RefusedTarget("it is longer than 2000 characters, or has characters that addresses do not have")
    try:
        parts = parse_url(url)
    except (LocationParseError, UnicodeError) as error:
        raise RefusedTarget("it is no valid address") from error
    if parts.scheme not in ("http", "https") or not parts.host:
        raise RefusedTarget("it is no http or https address")
    if parts.auth is not None:
        raise RefusedTarget("it has a user name; use web-auth-header-name instead")
    host = parts.host.strip("[]").lower()
    if parts.port == 0 or "%" in host:
        raise RefusedTarget("it has the port 0 or an IPv6 zone")
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    receiver = Receiver(parts.scheme, host, port, parts.request_uri, parts.netloc or "")
    labels = host.rstrip(".").split(".")
    if receiver.address is None and _NUMBER.fullmatch(labels[-1]):
        # inet_aton reads 0177.1, 2130706433 and 0x7f000001 as 127.0.0.1
        raise RefusedTarget("its host is a number, but not an IPv4 address of four decimal numbers")
    if not host.isascii() or (any(not 0 < len(label) < 64 for label in labels) and receiver.address is None):
        raise RefusedTarget("its host is no valid name")
    return receiver


def allowed_addresses(
    receiver: Receiver, answers: Iterable[str], *, allowed: Sequence[Network] = (), loopback: bool = False
) -> list[str]:
    """Return the addresses that may be connected to.

    Args:
        receiver: where the webhook goes.
        answers: the addresses that the resolver gave for its host.
        allowed: networks that are allowed although they are not public.
        loopback: whether addresses of this machine itself are allowed.

    Raises:
        RefusedTarget: there is no address, or one of them is not allowed. A name with good and bad addresses is
            refused as a whole.
    """
    found = list(dict.fromkeys(answers))
    if not found:
        raise RefusedTarget(f"the name {receiver.host} has no address")
    for text in found:
        problem = _problem(ipaddress.ip_address(text.partition("%")[0]), allowed, loopback=loopback)
        if problem:
            raise RefusedTarget(f"{receiver.host} has the address {text}, which {problem}")
    return found


def is_own_header(name: str) -> bool:
    """Return whether a caller must not set this header. Some receivers read `_` as `-`."""
    plain = name.lower().replace("_", "-")
    return plain in FORBIDDEN_HEADERS or plain.startswith(OWN_PREFIX)


def check_header_value(value: str) -> None:
    """Make sure that a value of a header can be sent.

    Raises:
        InvalidParameter: it is too long, or has characters that headers do not have.
    """
    if len(value) > MAX_HEADER_VALUE or not value.isprintable() or not value.isascii():
        allowed = f"at most {MAX_HEADER_VALUE} printable ASCII characters"
        raise InvalidParameter("web-auth-header-value", "(not shown)", allowed)


def _problem(address: Address, allowed: Sequence[Network], *, loopback: bool) -> str:
    """Why an address is not allowed; empty if it is."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return "" if loopback else "is this machine itself"
    if address.is_unspecified or address.is_multicast:
        return "is no address of one machine"
    if any(address in network for network in allowed):
        return ""
    inner = _embedded(address) if isinstance(address, ipaddress.IPv6Address) else None
    if inner is not None and (problem := _problem(inner, allowed, loopback=False)):
        return f"holds {inner}, which {problem}"
    if isinstance(address, ipaddress.IPv6Address):
        public = address in _PUBLIC_V6 or (inner is not None and address in _NAT64)
    else:
        public = True
    forbidden = any(address in network for network in _MORE_FORBIDDEN)
    if not public or forbidden or not address.is_global or address.is_link_local or address.is_private:
        return "is not public (ANONYMIZER_WEBHOOK_NETWORKS can allow it)"
    return ""


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for, or holds for a tunnel or a translator."""
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    value = int(address)
    is_isatap = value >> 32 & 0xFFFFFFFF in _ISATAP
    if is_isatap or any(address in network for network in (_NAT64, _COMPATIBLE, _TRANSLATED)):
        return ipaddress.IPv4Address(value & 0xFFFFFFFF)
    return None
