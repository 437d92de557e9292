"""Recorded spans on their way out: records of sampled requests, as control reads them.

They come by rings of their own, since the log's thread takes the others. Control looks once a
second and turns them into OTLP (control.spans); what it does not take in time is dropped and
counted by the worker, like lines of the log.
"""

import cython
from cython.cimports.fourseven.l7.record import RECORD_TEXTS, Record, record_text
from cython.cimports.fourseven.observe.spans import Ring
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.worker.ring import ring_next, ring_took
from cython.cimports.libc.stdint import uint32_t

NAMES = (
    "listener",
    "route",
    "backend",
    "server",
    "method",
    "target",
    "host",
    "user_agent",
    "referer",
    "id",
)


@cython.cclass
class Spans:
    """The reader of one data plane's span rings; `rings` are their addresses."""

    def __cinit__(self, rings: list):
        at: cython.int
        if len(rings) > 64:
            raise ValueError("more rings than workers")
        self.ring_count = len(rings)
        for at in range(len(rings)):
            self.rings[at] = cython.cast(
                cython.pointer[Ring], cython.cast(cython.size_t, rings[at])
            )

    def read(self, most: int) -> list:
        """At most so many spans that have ended since the last look."""
        at: cython.int
        record: cython.pointer[cython.const[Record]]
        found: list = []
        for at in range(self.ring_count):
            while len(found) < most:
                record = cython.cast(
                    cython.pointer[cython.const[Record]], ring_next(self.rings[at])
                )
                if record is cython.NULL:
                    break
                found.append(read_record(record))
                ring_took(self.rings[at], record.size)
        return found


@cython.cfunc
def read_record(record: cython.pointer[cython.const[Record]]) -> dict:
    which: uint32_t
    text: Span
    span: dict = {
        "trace": bytes(record.trace[:16]).hex(),
        "span": bytes(record.span[:8]).hex(),
        "parent": bytes(record.parent[:8]).hex(),
        "began_us": record.began_us,
        "total_us": record.total_us,
        "status": record.status,
        "tries": record.tries,
        "bytes_out": record.bytes_out,
        "secure": bool(record.secure),
        "version": record.version,
        "reason": record.reason,
    }
    for which in range(RECORD_TEXTS):
        text = record_text(record, which)
        span[NAMES[which]] = text.at[: text.size].decode("utf-8", "replace") if text.size else ""
    return span
