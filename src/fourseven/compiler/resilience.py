"""Retries, queues, circuits, tiers and persistence: from the file's words to the plan.

A plan without any of these has None, and then they cost a request nothing. A cookie's secrets are
read here where a file holds them; it must not be readable by everybody, for whoever knows a secret
can name servers.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import replace
from pathlib import Path

from fourseven.forms_resilience import FAILURES, Breaker, Persistence, Queue, Retry
from fourseven.model import Backend
from fourseven.persistence.cookie import SECRET_MIN
from fourseven.plan import LoadPlan, LocalityPlan, PersistencePlan, ResiliencePlan
from fourseven.snapshot.layout import BreakerOf, Fallback, LoadWord, PersistenceKind

FALLBACKS = {
    "rebalance": Fallback.FALLBACK_REBALANCE,
    "wait": Fallback.FALLBACK_WAIT,
    "503": Fallback.FALLBACK_REFUSE,
}
BREAKERS = {
    "server": int(BreakerOf.BREAKER_SERVER),
    "backend": int(BreakerOf.BREAKER_BACKEND),
    "both": int(BreakerOf.BREAKER_SERVER | BreakerOf.BREAKER_BACKEND),
}
LOAD_WORDS = {"x-load": int(LoadWord.LOAD_X), "orca": int(LoadWord.LOAD_ORCA)}
SECRETS_MAX = 4  # one that signs and three that are on their way out
SECRETS_SIZE = 64 * 1024


def tries(backend: Backend) -> int:
    """Further tries. ValueError where the file says so twice."""
    if backend.retry is None:
        return backend.retries
    if "retries" in backend.model_fields_set:
        raise ValueError("retries and retry stand in one backend; retry.attempts says it too")
    return backend.retry.attempts


def compile_resilience(backend: Backend) -> ResiliencePlan | None:
    """None where the file asks for nothing of it."""
    plan = ResiliencePlan()
    if backend.retry is not None and backend.retry.hedge and backend.persistence:
        raise ValueError("persistence keeps a client at one server, and retry.hedge asks a second")
    if backend.retry is not None:
        plan = _retry(plan, backend.retry)
    if backend.limits is not None:
        plan = replace(plan, requests_max=backend.limits.requests)
        plan = replace(plan, connections_max=backend.limits.connections)
        if backend.limits.connections and backend.protocol == "h2":
            raise ValueError(
                "limits.connections is for servers of HTTP/1.1; with protocol: h2 a worker has few"
                " connections, and limits.requests is what counts"
            )
    if backend.queue is not None:
        plan = _queue(plan, backend.queue)
    if backend.breaker is not None:
        plan = _breaker(plan, backend.breaker)
    if backend.failover is not None:
        plan = replace(plan, tier_percent=backend.failover.below)
    if backend.load_reports is not None:
        words = sum(LOAD_WORDS[word] for word in set(backend.load_reports.from_))
        plan = replace(plan, load_words=words, load_passes=backend.load_reports.pass_)
    return plan if plan != ResiliencePlan() else None


def _retry(plan: ResiliencePlan, retry: Retry) -> ResiliencePlan:
    return replace(
        plan,
        retry_on=sum(1 << at for at, word in enumerate(FAILURES) if word in retry.on),
        retry_any_method=retry.methods == "all",
        retry_same=retry.same_server,
        try_timeout_ms=retry.try_timeout_ms,
        budget_percent=retry.budget,
        budget_min=retry.budget_min,
        hedge_ms=max(0, retry.hedge.after) if retry.hedge else 0,
        hedge_percent=max(0, -retry.hedge.after) if retry.hedge else 0,
        statuses=retry.statuses,
    )


def _queue(plan: ResiliencePlan, queue: Queue) -> ResiliencePlan:
    return replace(
        plan,
        queue_max=queue.size,
        queue_wait_ms=queue.timeout_ms,
        queue_header=(queue.priority_header or "").encode(),
    )


def _breaker(plan: ResiliencePlan, breaker: Breaker) -> ResiliencePlan:
    return replace(
        plan,
        breaker_of=BREAKERS[breaker.of],
        breaker_percent=breaker.errors,
        breaker_requests=breaker.requests,
        breaker_window_ms=breaker.window_ms,
        breaker_open_ms=breaker.open_ms,
    )


def compile_locality(backend: Backend, zone: str | None) -> LocalityPlan | None:
    """ValueError where nobody can be near: we do not know where we are."""
    if backend.locality is None:
        return None
    if zone is None:
        raise ValueError("locality: where are we? Give the file a zone: name of its own")
    return LocalityPlan(zone, backend.locality.spill)


def compile_load(backend: Backend) -> LoadPlan | None:
    said = backend.load_reports
    return LoadPlan(said.expires_ms, said.least * 10) if said is not None else None


def compile_persistence(name: str, said: Persistence | None) -> PersistencePlan | None:
    """Without the secrets of a file: `with_secrets` reads them."""
    if said is None:
        return None
    plan = said.feature.lower()
    key = plan.key
    if plan.kind == PersistenceKind.PERSIST_COOKIE and not key.name:
        # Two backends under one host name must not overwrite each other's cookie.
        key = replace(
            key, name=b"fourseven_" + hashlib.sha256(name.encode()).hexdigest()[:6].encode()
        )
    return replace(plan, key=key, fallback=int(FALLBACKS[said.fallback]), wait_ms=said.wait_ms)


def with_secrets(plan: PersistencePlan | None, folder: Path) -> PersistencePlan | None:
    """The plan with the secrets of its file. ValueError says why that cannot be."""
    if plan is None or not plan.secret_file:
        return plan
    try:
        with (folder / plan.secret_file).open("rb") as stream:
            if os.fstat(stream.fileno()).st_mode & stat.S_IRWXO:
                raise ValueError(
                    f"{plan.secret_file}: everybody on this host can read it; chmod 600"
                )
            lines = stream.read(SECRETS_SIZE).splitlines()
    except OSError as error:
        why = error.strerror or str(error)
        raise ValueError(f"{plan.secret_file} cannot be read: {why}") from None
    secrets = tuple(line.strip() for line in lines if line.strip())
    if not 1 <= len(secrets) <= SECRETS_MAX or min(map(len, secrets)) < SECRET_MIN:
        raise ValueError(
            f"{plan.secret_file} holds no secret that will do; write 1 to {SECRETS_MAX} lines of"
            f" {SECRET_MIN} characters or more, as `openssl rand -hex 32` makes them"
        )
    return replace(plan, secrets=secrets)
