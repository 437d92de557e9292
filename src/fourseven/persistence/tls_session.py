"""The TLS session that a client takes up again: it goes to the server that began it."""

from __future__ import annotations

from typing import ClassVar, Literal

from fourseven.balancing.source_hash import PREFIX_V4, PREFIX_V6
from fourseven.features import Need
from fourseven.matching.records import FIELD_NOTHING
from fourseven.matching.records import Field as Seen
from fourseven.persistence.kept import Kept
from fourseven.plan import KeyPlan, PersistencePlan
from fourseven.snapshot.layout import PersistenceKind

OTHERWISE = {
    "balance": KeyPlan(field=FIELD_NOTHING),
    "source": KeyPlan(field=int(Seen.FIELD_CLIENT), prefix_v4=PREFIX_V4, prefix_v6=PREFIX_V6),
    "sni": KeyPlan(field=int(Seen.FIELD_SNI)),
}


class TlsSession(Kept):
    """The session of a TLS that is passed through: who takes one up again gets its server.

    The ID of a session, or its ticket, is learnt from what the server says in the handshake, and
    found in the next ClientHello: so sessions are resumed although the servers share no keys. That
    holds up to TLS 1.2. In TLS 1.3 both are encrypted; such clients, and new ones, are known by
    what `otherwise` says: `source` (their address), `sni` (the name they ask for), or nothing
    (`balance`). For listeners that pass TLS through; where TLS ends here, sessions are ours.

        persistence: tls_session
        persistence: {tls_session: {otherwise: source, ttl: 2h}}
    """

    key: ClassVar[str] = "tls_session"
    need: ClassVar[Need] = Need.CLIENT_HELLO

    otherwise: Literal["balance", "source", "sni"] = "balance"

    def lower(self) -> PersistencePlan:
        return self.kept(int(PersistenceKind.PERSIST_SESSION), OTHERWISE[self.otherwise])
