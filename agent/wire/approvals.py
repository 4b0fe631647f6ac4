"""Requests and grants in the words of the wire."""

from __future__ import annotations

from agent.wire.messages import escape_name, escape_text
from model.approval import ApprovalStep, Bound, Grant, Moment, Term
from protos.pgwarden.v1 import uplink_pb2 as pb

MAX_ITEMS = 200
MAX_TEXT_BYTES = 256 * 1024


def approval_to_wire(step: ApprovalStep) -> pb.ApprovalStep:
    bound = step.bound
    return pb.ApprovalStep(
        id=step.id,
        at_us=step.at_us,
        step=step.step.value,
        request=step.request,
        grant=step.grant,
        cluster=escape_name(bound.cluster),
        database=escape_name(bound.database),
        user=escape_name(bound.user),
        identity=escape_name(bound.identity),
        digest=bound.digest,
        pid=step.backend.pid,
        backend_started_at_us=step.backend.started_at_us,
        statement_id=step.statement_id,
        identity_kind=step.identity_kind.value,
        identity_name=escape_name(step.identity_name),
        rule=escape_name(step.rule),
        text=escape_text(step.text, MAX_TEXT_BYTES),
        relations=map(escape_name, step.relations[:MAX_ITEMS]),
        functions=map(escape_name, step.functions[:MAX_ITEMS]),
        flags=step.flags,
        who=map(escape_name, step.who),
        reason=escape_name(step.reason),
    )


def grants_from_wire(grants: pb.Grants, agent: str, now: Moment) -> list[tuple[Grant, int]]:
    """Each with the uses that the collector knows of."""
    return [
        (
            Grant(
                id=grant.id,
                request=grant.request,
                bound=Bound(
                    agent,
                    grant.cluster,
                    grant.database,
                    grant.user,
                    grant.identity,
                    grant.digest.hex(),
                ),
                uses=grant.uses,
                term=Term.begin(now, max(0, grant.left_us)),
                relations=tuple(grant.relations),
                functions=tuple(grant.functions),
            ),
            grant.used,
        )
        for grant in grants.grants
    ]
