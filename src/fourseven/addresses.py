"""Where a listener binds, where a server is, and which networks are meant: strict and canonical.

A bind is `[tcp://|udp://]host:port` or `unix:/path`; the host is an IP address, and left out it
is every address (`:8080`). It becomes `tcp://host:port`, so that two ways to write one socket
compare equal. `[::]` takes IPv4 too, as Linux does by default, so `:8080` is `tcp://[::]:8080`.

A server is `host:port` or `unix:/path`; the host is an IP address or a DNS name.

A port may be a range, `10.0.0.1:8000-8100`; `spread` makes one text for each port of it.

Law: `ipaddress` does the reading. It refuses what inet_aton would take (`010.1`, `0x7f000001`),
and this file adds nothing lenient to it.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

UNIX_PATH_MAX = 107  # sun_path holds 108 bytes with the final NUL
RANGE_MAX = 512  # ports; each is a socket of the relay, and 1,024 of those is the most

_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
_LABEL = re.compile(
    r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII
)  # RFC 1123, and _ as container names have it


def canonical_bind(value: Any) -> str:
    """`tcp://0.0.0.0:80`, `udp://[::1]:53` or `unix:/run/web.sock` of any form of a bind."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not an address; write e.g. 0.0.0.0:{_port_of(value)}")
    if value.startswith("unix:"):
        return _unix(value)
    scheme, rest = _scheme(value)
    host, port, ports = _split(
        rest, f"{scheme}://0.0.0.0:8080" if "://" in value else "0.0.0.0:8080"
    )
    if host in ("", "*"):
        return f"{scheme}://[::]:{ports}"
    return f"{scheme}://{_ip(host, port)}:{ports}"


def spread(address: str) -> tuple[str, ...]:
    """A canonical bind or server as one text for each port of its range; itself if it has none."""
    before, _, ports = address.rpartition(":")
    first, dash, last = ports.partition("-")
    if not dash or address.startswith("unix:"):
        return (address,)
    return tuple(f"{before}:{port}" for port in range(int(first), int(last) + 1))


def bind_parts(bind: str) -> tuple[str, str, int]:
    """(tcp or udp, address without brackets, port) of a canonical bind of one port; not of unix."""
    scheme, _, rest = bind.partition("://")
    host, _, port = rest.rpartition(":")
    return scheme, host.strip("[]"), int(port)


def canonical_server(value: Any) -> str:
    """`10.0.0.1:80`, `[::1]:80`, `name:80` or `unix:/path` of any form of a server's address."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not an address; write e.g. 10.0.0.1:{_port_of(value)}")
    if value.startswith("unix:"):
        return _unix(value)
    if "://" in value:
        raise ValueError(f"{value!r} has a scheme; write host:port, e.g. {_bare(value)}")
    host, port, ports = _split(value, "10.0.0.1:8080")
    if port == 0:
        raise ValueError(f"{value!r} has port 0; write the port that the server listens on")
    if _is_ip(host):
        return f"{_ip(host, port)}:{ports}"
    if not is_host_name(host):
        raise ValueError(f"{host!r} is no address and no host name; write e.g. 10.0.0.1:{port}")
    if re.fullmatch(r"[0-9.]+", host):
        raise ValueError(
            f"{host!r} is no IPv4 address; write four numbers up to 255, e.g. 10.0.0.1:{port}"
        )
    return f"{host.rstrip('.').lower()}:{ports}"


def canonical_address(value: Any) -> str:
    """An IP address by itself."""
    if not isinstance(value, str) or not _is_ip(value):
        raise ValueError(f"{value!r} is no IP address; write e.g. 10.0.0.1")
    return str(ipaddress.ip_address(value))


def canonical_network(value: Any) -> str:
    """`10.0.0.0/8` of a network or of a single address; its host bits must be 0."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a network; write e.g. 10.0.0.0/8")
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        pass
    try:
        right = f"write {ipaddress.ip_network(value, strict=False)}"
    except ValueError:
        raise ValueError(f"{value!r} is not a network; write e.g. 10.0.0.0/8") from None
    raise ValueError(f"{value!r} has host bits set; {right}")


def is_host_name(text: str) -> bool:
    """Whether these are labels with dots between; a final dot is one of the root."""
    labels = text.removesuffix(".").split(".")
    return 0 < len(text) <= 253 and all(_LABEL.fullmatch(part) for part in labels)


def _scheme(value: str) -> tuple[str, str]:
    scheme, found, rest = value.partition("://")
    if not found:
        return "tcp", value
    if scheme not in ("tcp", "udp"):
        raise ValueError(f"{scheme}:// is no way to bind; write tcp://, udp:// or unix:/path")
    return scheme, rest


def _split(text: str, example: str) -> tuple[str, int, str]:
    """Host (an IPv6 one without its brackets), the (first) port, and the port or the range."""
    host, colon, digits = text.rpartition(":")
    if not colon or text.endswith("]"):
        raise ValueError(f"{text!r} has no port; write e.g. {example}")
    if host.startswith("[") != host.endswith("]") or (":" in host and not host.startswith("[")):
        raise ValueError(f"{text!r} is ambiguous; write IPv6 in brackets, e.g. [2001:db8::1]:80")
    found = _PORTS.fullmatch(digits)
    if not found or int(found[1]) > 65535:
        raise ValueError(
            f"{digits!r} is not a port; write a number from 1 to 65535, e.g. {example}"
        )
    first = int(found[1])
    ports = str(first) if found[2] is None else _range(first, int(found[2]))
    if host.startswith("["):
        inner = host[1:-1]
        if ":" not in inner:
            raise ValueError(f"{host!r} is no IPv6 address; write e.g. [2001:db8::1]:{digits}")
        return inner, first, ports
    return host, first, ports


def _range(first: int, last: int) -> str:
    if not 0 < first < last <= 65535:
        raise ValueError(
            f"{first}-{last} is no range of ports; write the lower one first, e.g. 8000-8100"
        )
    if last - first >= RANGE_MAX:
        raise ValueError(
            f"{first}-{last} has {last - first + 1} ports; {RANGE_MAX} is the most, split it"
        )
    return f"{first}-{last}"


def _ip(host: str, port: int) -> str:
    """The address, an IPv6 one in brackets; IPv4 in IPv6 becomes IPv4, so no rule is by-passed."""
    if not _is_ip(host):
        mend = (
            f"write 127.0.0.1:{port}"
            if host == "localhost"
            else f"write e.g. 0.0.0.0:{port} or :{port}"
        )
        raise ValueError(f"{host!r} is not an IP address; {mend}")
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            raise ValueError(f"{host!r} has a zone; write the address without %{address.scope_id}")
        if address.ipv4_mapped is None:
            return f"[{address}]"
        address = address.ipv4_mapped
    return str(address)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _unix(value: str) -> str:
    path = value.removeprefix("unix:")
    if not path.startswith("/"):
        raise ValueError(f"{value!r} is not absolute; write unix:/run/name.sock")
    if len(path.encode()) > UNIX_PATH_MAX or "\0" in path:
        raise ValueError(
            f"{value[:40]!r}… is too long; a socket's path has at most {UNIX_PATH_MAX} bytes"
        )
    return value


def _bare(value: str) -> str:
    """host:port of a URL, for the mend only."""
    scheme, _, rest = value.partition("://")
    host = rest.split("/")[0]
    return host if ":" in host else f"{host}:{443 if scheme == 'https' else 80}"


def _port_of(value: Any) -> int:
    return (
        value
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536
        else 8080
    )
