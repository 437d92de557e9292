"""Binds, servers and networks: what is taken in which form, and what is refused with which mend."""

from __future__ import annotations

import pytest

from fourseven.addresses import canonical_bind, canonical_network, canonical_server

TAKEN = [
    (canonical_bind, "0.0.0.0:80", "tcp://0.0.0.0:80"),
    (canonical_bind, "tcp://0.0.0.0:80", "tcp://0.0.0.0:80"),
    (canonical_bind, ":8080", "tcp://[::]:8080"),
    (canonical_bind, "*:8080", "tcp://[::]:8080"),
    (canonical_bind, "[::]:80", "tcp://[::]:80"),
    (canonical_bind, "[0:0::1]:80", "tcp://[::1]:80"),
    (canonical_bind, "[::ffff:10.0.0.1]:80", "tcp://10.0.0.1:80"),
    (canonical_bind, "udp://127.0.0.1:53", "udp://127.0.0.1:53"),
    (canonical_bind, "127.0.0.1:0", "tcp://127.0.0.1:0"),
    (canonical_bind, "unix:/run/web.sock", "unix:/run/web.sock"),
    (canonical_server, "10.0.0.1:80", "10.0.0.1:80"),
    (canonical_server, "[2001:DB8::1]:80", "[2001:db8::1]:80"),
    (canonical_server, "Web.example.com.:80", "web.example.com:80"),
    (canonical_server, "my_service:80", "my_service:80"),
    (canonical_server, "unix:/run/a.sock", "unix:/run/a.sock"),
    (canonical_network, "10.0.0.0/8", "10.0.0.0/8"),
    (canonical_network, "10.0.0.1", "10.0.0.1/32"),
    (canonical_network, "2001:db8::/32", "2001:db8::/32"),
]
REFUSED = [
    (canonical_bind, 8080, "8080 is not an address; write e.g. 0.0.0.0:8080"),
    (canonical_bind, "8080", "'8080' has no port; write e.g. 0.0.0.0:8080"),
    (canonical_bind, "localhost:80", "'localhost' is not an IP address; write 127.0.0.1:80"),
    (
        canonical_bind,
        "http://1.2.3.4:80",
        "http:// is no way to bind; write tcp://, udp:// or unix:/path",
    ),
    (
        canonical_bind,
        "::1:80",
        "'::1:80' is ambiguous; write IPv6 in brackets, e.g. [2001:db8::1]:80",
    ),
    (canonical_bind, "[::1]", "'[::1]' has no port; write e.g. 0.0.0.0:8080"),
    (canonical_bind, "[1.2.3.4]:80", "'[1.2.3.4]' is no IPv6 address; write e.g. [2001:db8::1]:80"),
    (
        canonical_bind,
        "0.0.0.0:65536",
        "'65536' is not a port; write a number from 1 to 65535, e.g. 0.0.0.0:8080",
    ),
    (
        canonical_bind,
        "0.0.0.0:+80",
        "'+80' is not a port; write a number from 1 to 65535, e.g. 0.0.0.0:8080",
    ),
    (
        canonical_bind,
        "010.0.0.1:80",
        "'010.0.0.1' is not an IP address; write e.g. 0.0.0.0:80 or :80",
    ),
    (
        canonical_bind,
        "[fe80::1%eth0]:80",
        "'fe80::1%eth0' has a zone; write the address without %eth0",
    ),
    (canonical_bind, "unix:run/a", "'unix:run/a' is not absolute; write unix:/run/name.sock"),
    (canonical_server, "10.0.0.1", "'10.0.0.1' has no port; write e.g. 10.0.0.1:8080"),
    (
        canonical_server,
        "10.0.0.1:0",
        "'10.0.0.1:0' has port 0; write the port that the server listens on",
    ),
    (canonical_server, "http://web/x", "'http://web/x' has a scheme; write host:port, e.g. web:80"),
    (
        canonical_server,
        "10.0.0.256:80",
        "'10.0.0.256' is no IPv4 address; write four numbers up to 255, e.g. 10.0.0.1:80",
    ),
    (canonical_server, "a b:80", "'a b' is no address and no host name; write e.g. 10.0.0.1:80"),
    (canonical_server, ":80", "'' is no address and no host name; write e.g. 10.0.0.1:80"),
    (canonical_network, "10.0.0.1/8", "'10.0.0.1/8' has host bits set; write 10.0.0.0/8"),
    (canonical_network, "ten", "'ten' is not a network; write e.g. 10.0.0.0/8"),
]


@pytest.mark.parametrize("read,text,value", TAKEN)
def test_taken(read, text, value):
    assert read(text) == value
    assert read(value) == value


@pytest.mark.parametrize("read,text,why", REFUSED)
def test_refused_with_the_mend(read, text, why):
    with pytest.raises(ValueError) as error:
        read(text)
    assert str(error.value) == why


def test_a_unix_path_fits_its_socket_address():
    fits = "unix:/" + "x" * 106
    assert canonical_bind(fits) == fits
    with pytest.raises(ValueError, match="at most 107 bytes"):
        canonical_bind(fits + "x")
