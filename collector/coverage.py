"""Audit coverage beside the store: what is expected of each server, and minutes as rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from analytics.audit.minutes import SECOND_US, Example, Minute
from analytics.audit.policy import AuditPolicy, Settings

Server = tuple[str, str]
"""Agent and cluster."""
MAX_EXAMPLES = 3


class Policies:
    """AuditPolicy by server, made anew only when other settings were accepted."""

    def __init__(self) -> None:
        self._known: dict[Server, tuple[Settings, AuditPolicy]] = {}

    def of(self, accepted: Mapping[Server, Settings]) -> dict[Server, AuditPolicy]:
        for server, settings in accepted.items():
            known = self._known.get(server)
            if known is None or known[0] is not settings:
                self._known[server] = (settings, AuditPolicy.of(settings))
        return {server: self._known[server][1] for server in accepted}


def coverage_rows(minutes: Iterable[Minute]) -> list[dict[str, Any]]:
    """Rows of table ``audit_coverage``, times in Unix microseconds."""
    return [
        {
            "minute": minute.from_us,
            "seconds": (minute.until_us - minute.from_us) / SECOND_US,
            "agent": minute.agent,
            "cluster": minute.cluster,
            "database": minute.database,
            "user_name": minute.user_name,
            "identity": minute.identity,
            "pid": minute.pid,
            "backend_started_at": minute.backend_second * SECOND_US,
            "matched": minute.matched,
            "only_ebpf": minute.missed["pgaudit"],
            "only_pgaudit": minute.missed["ebpf"],
            "exempt": sum(minute.exempt.values()),
            "pgaudit_ratio": minute.ratio("pgaudit"),
            "ebpf_ratio": minute.ratio("ebpf"),
            "only_ebpf_examples": _texts(minute.examples.get("pgaudit", ())),
            "only_pgaudit_examples": _texts(minute.examples.get("ebpf", ())),
            "exempt_reasons": orjson.dumps(dict(sorted(minute.exempt.items()))).decode(),
            "lost": orjson.dumps(minute.lost).decode(),
        }
        for minute in minutes
    ]


def _texts(examples: Iterable[Example]) -> list[str]:
    return [example.text for example in examples][:MAX_EXAMPLES]
