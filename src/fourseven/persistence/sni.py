"""The name that a TLS client asks for: one name, one server."""

from __future__ import annotations

from typing import ClassVar

from fourseven.features import Need
from fourseven.matching.records import Field as Seen
from fourseven.persistence.kept import Kept
from fourseven.plan import KeyPlan, PersistencePlan
from fourseven.snapshot.layout import PersistenceKind


class Sni(Kept):
    """The name of the ClientHello: all connections for one name go to one server.

    For TLS that is passed through: the server that has a tenant's data and sessions in its memory,
    and can resume its TLS, gets all of them. The first connection for a name is balanced, and the
    table keeps where it went. Clients that name no host are balanced.

        persistence: sni
        persistence: {sni: {ttl: 1h, rows: 10000}}
    """

    key: ClassVar[str] = "sni"
    need: ClassVar[Need] = Need.CLIENT_HELLO

    def lower(self) -> PersistencePlan:
        key = KeyPlan(field=int(Seen.FIELD_SNI))
        return self.kept(int(PersistenceKind.PERSIST_TABLE), key)
