"""Every feature there is, one line each.

Adding a match, a filter or a balancing algorithm is one file with its class and one line here.
The model, the JSON Schema, the compiler, `check`, `explain` and the contract tests walk these
tables; none of them knows a feature by name.

Laws: the order of MATCHES is the order in which the conditions of one route are looked at, so the
cheap ones stand first. A key occurs once in its table.
"""

from __future__ import annotations

from fourseven.balancing.hash import Hash
from fourseven.balancing.least_requests import LeastRequests
from fourseven.balancing.maglev import Maglev
from fourseven.balancing.peak_ewma import PeakEwma
from fourseven.balancing.power_of_two import PowerOfTwo
from fourseven.balancing.random import Random
from fourseven.balancing.round_robin import RoundRobin
from fourseven.balancing.source_hash import SourceHash
from fourseven.discovery.dns import Dns
from fourseven.discovery.listed import File
from fourseven.features import Algorithm, Check, Filter, Match, Persistence, Source
from fourseven.filters.access import Access
from fourseven.filters.adaptive_concurrency import AdaptiveConcurrency
from fourseven.filters.bandwidth import Bandwidth
from fourseven.filters.basic_auth import BasicAuth
from fourseven.filters.body_limit import BodyLimit
from fourseven.filters.compress import Compress
from fourseven.filters.concurrency import Concurrency
from fourseven.filters.cors import Cors
from fourseven.filters.fault import Fault
from fourseven.filters.forward_auth import ForwardAuth
from fourseven.filters.host import Host
from fourseven.filters.hsts import Hsts
from fourseven.filters.jwt import Jwt
from fourseven.filters.mirror import Mirror
from fourseven.filters.rate_limit import RateLimit
from fourseven.filters.redirect import Redirect
from fourseven.filters.request_headers import RequestHeaders
from fourseven.filters.respond import Respond
from fourseven.filters.response_headers import ResponseHeaders
from fourseven.filters.rewrite import Rewrite
from fourseven.health.command import Command
from fourseven.health.grpc import Grpc as GrpcCheck
from fourseven.health.http import Http
from fourseven.health.tcp import Tcp
from fourseven.health.tls import Tls
from fourseven.matching.address import Address
from fourseven.matching.alpn import Alpn
from fourseven.matching.body import Body
from fourseven.matching.client_certificate import ClientCertificate
from fourseven.matching.cookie import Cookie
from fourseven.matching.device import Device
from fourseven.matching.grpc import Grpc
from fourseven.matching.header import Header
from fourseven.matching.host import Host as HostMatch
from fourseven.matching.method import Method
from fourseven.matching.path import Path
from fourseven.matching.query import Query
from fourseven.matching.sni import Sni
from fourseven.persistence.cookie import Cookie as CookiePersistence
from fourseven.persistence.header import Header as HeaderPersistence
from fourseven.persistence.learn import Learn
from fourseven.persistence.sni import Sni as SniPersistence
from fourseven.persistence.source import Source as SourcePersistence
from fourseven.persistence.tls_session import TlsSession

MATCHES: tuple[type[Match], ...] = (
    Address,
    Sni,
    Alpn,
    Method,
    ClientCertificate,
    HostMatch,
    Path,
    Grpc,
    Header,
    Query,
    Cookie,
    Device,
    Body,
)

FILTERS: tuple[type[Filter], ...] = (
    Rewrite,
    Redirect,
    Respond,
    RequestHeaders,
    ResponseHeaders,
    Hsts,
    Host,
    Access,
    Cors,
    BasicAuth,
    RateLimit,
    Jwt,
    Concurrency,
    AdaptiveConcurrency,
    Fault,
    BodyLimit,
    ForwardAuth,
    Mirror,
    Compress,
    Bandwidth,
)

ALGORITHMS: tuple[type[Algorithm], ...] = (
    RoundRobin,
    LeastRequests,
    PowerOfTwo,
    PeakEwma,
    Random,
    SourceHash,
    Hash,
    Maglev,
)

CHECKS: tuple[type[Check], ...] = (
    Tcp,
    Http,
    Tls,
    GrpcCheck,
    Command,
)

SOURCES: tuple[type[Source], ...] = (
    Dns,
    File,
)

PERSISTENCE: tuple[type[Persistence], ...] = (
    CookiePersistence,
    Learn,
    HeaderPersistence,
    SourcePersistence,
    SniPersistence,
    TlsSession,
)
