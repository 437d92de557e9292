"""Mirror: a share of the requests is copied to another backend, whose answers nobody gets."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fourseven.features import Filter, Need
from fourseven.filters.headers import Name
from fourseven.filters.keys import CountedBy
from fourseven.plan import GatePlan
from fourseven.scalars import Share, Size, Text, Wait
from fourseven.snapshot.layout import GATE_HEAD, GateKind

BODY_MAX = 60 * 1024  # what a session keeps of a request beside its head: one buffer


class Mirror(Filter):
    """Copies a share of the requests to another backend; what that answers is thrown away.

    The client gets the answer of the route's own backend and waits for nothing else. A copy is sent
    when the request has gone to its own server whole, so what was refused before is not copied; it
    has passed the same filters. Not copied are requests to upgrade, bodies above body_max, and
    requests for which too many copies are under way: the counters mirror_copies, mirror_failed,
    mirror_skipped (too many) and mirror_given_up (a body too large, or gone) say how many. By a key
    the draw is no chance: the same client (header, path) is copied always or never. The backend may
    have `tls` and `protocol: h2`.

        filters: [{mirror: shadow}]
        filters: [{mirror: {backend: shadow, share: 5%, by: client, header: X-Mirrored}}]
    """

    key: ClassVar[str] = "mirror"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "backend"

    backend: Text = Field(description="Who gets the copies.")
    share: Share = Field(1_000_000, validate_default=False, description="Of the requests: 5%.")
    by: CountedBy | None = Field(
        None, description="client, host, path, method, {header: …}: the same one, the same draw."
    )
    header: Name | None = Field(
        None, description="Marks a copy with `1`; no client's own header of that name passes."
    )
    body_max: Annotated[Size, Field(le=BODY_MAX)] = Field(
        BODY_MAX, description="A request with a larger body is not copied."
    )
    timeout_ms: Wait = Field(10_000, alias="timeout", description="For its whole answer.")
    max_in_flight: Annotated[int, Field(strict=True, ge=1, le=100_000)] = Field(
        100, description="Copies under way at once, over all workers; beyond, none is made."
    )

    def gates(self) -> tuple[GatePlan, ...]:
        return (
            GatePlan(
                int(GateKind.GATE_MIRROR),
                numbers=(self.share, self.body_max, self.timeout_ms, self.max_in_flight),
                keys=(self.by.lower(),) if self.by else (),
                texts=(self.header.encode(),) if self.header else (),
                backend=self.backend,
                state_size=GATE_HEAD,
            ),
        )

    def backends(self) -> tuple[str, ...]:
        return (self.backend,)

    def tells(self) -> tuple[str, ...]:
        return (self.header,) if self.header else ()
