"""Fetches OCSP responses from the authorities' responders, for certificates with `ocsp: fetch`.

One task for each certificate. It asks by HTTP, judges the answer (tls/staples), and asks again when
half of the answer's time has passed. A responder that fails is asked again soon, and then more
seldom; the response in hand is shown until its end, and then none.

Laws: opt-in, for it tells the authority that this host is up and needs a way out. A response is
at most 64 KiB, and a responder has ten seconds. Nothing waits for it: a listener starts without.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from cryptography import x509

from fourseven.control import logs
from fourseven.plan import CertificatePlan, Plan, TlsPlan
from fourseven.tls.certificates import Refused
from fourseven.tls.staples import Staple, judge, question, responder

RESPONSE_MAX = 64 * 1024
TIMEOUT_S = 10.0
AGAIN_S = 60.0  # after a failure; twice as long each time, up to
AGAIN_MAX_S = 3600.0
ASK_MIN_S = 300.0  # never more often, whatever a response says of its own end

Ask = Callable[[str, bytes], Awaitable[bytes]]


async def ask_responder(url: str, said: bytes) -> bytes:
    """One question by POST (RFC 6960 A.1)."""
    import aiohttp  # slow to load, and few need it

    fields = {"Content-Type": "application/ocsp-request"}
    patience = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with (
        aiohttp.ClientSession(timeout=patience) as session,
        session.post(url, data=said, headers=fields, allow_redirects=False) as answer,
    ):
        if answer.status != 200:
            raise Refused(f"{url} answered {answer.status}")
        got = b""
        async for part in answer.content.iter_chunked(RESPONSE_MAX):
            got += part
            if len(got) > RESPONSE_MAX:
                raise Refused(f"{url} answered more than {RESPONSE_MAX} bytes")
        return got


class Stapling:
    """The responses in hand, by the certificate's own bytes."""

    def __init__(self, changed: Callable[[], None], ask: Ask = ask_responder) -> None:
        self._changed = changed
        self._ask = ask
        self._staples: dict[bytes, Staple] = {}
        self._tasks: dict[bytes, asyncio.Task[None]] = {}

    def use(self, plan: Plan) -> None:
        """Begins with the certificates of this plan, and forgets those of others."""
        wanted = {one.chain: one for one in _fetching(plan)}
        for chain in [chain for chain in self._tasks if chain not in wanted]:
            self._tasks.pop(chain).cancel()
            self._staples.pop(chain, None)
        for chain, one in wanted.items():
            if chain not in self._tasks:
                self._tasks[chain] = asyncio.create_task(self._keep(one))

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def stapled(self, plan: Plan) -> Plan:
        """The plan with what is in hand."""
        if not self._staples:
            return plan
        there = [replace(one, tls=self._tls(one.tls)) if one.tls else one for one in plan.listeners]
        return replace(plan, listeners=tuple(there))

    def _tls(self, tls: TlsPlan) -> TlsPlan:
        return replace(tls, certificates=tuple(self._certificate(one) for one in tls.certificates))

    def _certificate(self, one: CertificatePlan) -> CertificatePlan:
        staple = self._staples.get(one.chain) if one.fetches else None
        if staple is None:
            return one
        return replace(one, staple=staple.der, staple_until=staple.until)

    async def _keep(self, one: CertificatePlan) -> None:
        chain = x509.load_pem_x509_certificates(one.chain)
        url, said = responder(chain[0]), question(chain)
        again = AGAIN_S
        while True:
            try:
                staple = judge(await self._ask(url, said), chain, time.time())
            except Exception as error:  # aiohttp has many; none may end the loop
                why = str(error) or type(error).__name__
                logs.warn("ocsp.failed", certificate=one.file, why=why)
                await asyncio.sleep(again)
                again = min(2 * again, AGAIN_MAX_S)
                continue
            again = AGAIN_S
            self._staples[one.chain] = staple
            logs.say("ocsp.fetched", certificate=one.file, until=round(staple.until))
            self._changed()
            half = (staple.since + staple.until) / 2 - time.time()
            await asyncio.sleep(max(half, ASK_MIN_S))


def _fetching(plan: Plan) -> list[CertificatePlan]:
    every = [
        one for listener in plan.listeners if listener.tls for one in listener.tls.certificates
    ]
    return [one for one in every if one.fetches]
