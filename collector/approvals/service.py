"""The Approvals service: who asks is established here, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from collector.access.door import Caller, Door, Via
from collector.approvals.approvals import Approvals
from collector.approvals.book import DecisionError, Who
from collector.peers import approver_name
from config.schema import Approver, CollectorApprovals
from model.approval import read_code
from protos.pgwarden.v1 import approvals_pb2 as pb
from protos.pgwarden.v1 import approvals_pb2_grpc

MICROSECONDS = 1_000_000
MOST_ACCOUNTS = 8


class ApprovalsService(approvals_pb2_grpc.ApprovalsServicer):
    """For operators, tokens, and the certificates of ``collector.approvals.approvers``."""

    def __init__(
        self,
        approvals: Approvals,
        config: CollectorApprovals,
        door: Door | None = None,
        is_private: Callable[[], bool] = lambda: True,
    ) -> None:
        """``is_private``: whether nobody but root and the collector's account may open the socket,
        which alone says who decides where no approvers are named."""
        self._is_private = is_private
        self._approvals = approvals
        self.config = config
        """May be exchanged while it serves."""
        self._door = door or Door()

    def List(  # noqa: N802 - gRPC's name
        self, request: pb.ListApprovalsRequest, context: grpc.ServicerContext
    ) -> pb.ListApprovalsReply:
        self._door.admit(context, "Approvals.List")
        found = self._approvals.requests(decided=request.all)
        return pb.ListApprovalsReply(requests_json=map(_json, found))

    def Show(  # noqa: N802
        self, request: pb.ShowApprovalRequest, context: grpc.ServicerContext
    ) -> pb.ShowApprovalReply:
        self._door.admit(context, "Approvals.Show")
        code = read_code(request.request)
        asked = self._approvals.request(code)
        if asked is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no request {code!r}")
        asked["ran_before"] = self._approvals.ran_before(code)
        catalog, problem = self._approvals.catalog(code)
        return pb.ShowApprovalReply(
            request_json=_json(asked),
            readers_json=map(_json, self._approvals.readers(code)),
            catalog_json=catalog,
            catalog_problem=problem,
        )

    def Decide(  # noqa: N802
        self, request: pb.DecideApprovalRequest, context: grpc.ServicerContext
    ) -> pb.DecideApprovalReply:
        who = self._approver(context, request.accounts)
        code, reason = read_code(request.request), request.reason.strip()
        try:
            if not request.grant:
                delivered, message = self._approvals.deny(code, who, reason)
                return pb.DecideApprovalReply(
                    done=True, delivered=delivered, message=message, by=who.by
                )
            self._check(request)
            _, message = self._approvals.grant(
                code, who, uses=request.uses, lasts_us=request.lasts_us, reason=reason
            )
            return pb.DecideApprovalReply(done=True, delivered=True, message=message, by=who.by)
        except DecisionError as error:
            return pb.DecideApprovalReply(done=False, message=str(error), by=who.by)

    def _check(self, request: pb.DecideApprovalRequest) -> None:
        config = self.config
        if not 1 <= request.uses <= config.max_uses:
            raise DecisionError(f"uses must be 1 to {config.max_uses}")
        if not 0 < request.lasts_us <= config.max_seconds * MICROSECONDS:
            raise DecisionError(f"it may last at most {config.max_seconds:g} seconds")

    def _approver(self, context: grpc.ServicerContext, claimed: Sequence[str]) -> Who:
        caller = self._door.admit(context, "Approvals.Decide")
        accounts = tuple(name for name in claimed[:MOST_ACCOUNTS] if name)
        name = caller.name if caller.via is Via.TOKEN else approver_name(context) or ""
        listed = self._listed(caller, name, accounts if caller.operates else ())
        if not self.config.approvers and caller.via is Via.SOCKET and not self._is_private():
            context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                "collector.approvals.approvers names nobody, and others than root and the"
                " collector's account may open its socket: name approvers, or make it 0600 again",
            )
        if self.config.approvers and listed is None:
            shown = name or ", ".join(accounts) or "nobody"
            context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                f"{shown} is not among collector.approvals.approvers",
            )
        by = listed.name if listed else (name or next(iter(accounts), ""))
        if not by:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "who decides is not said")
        # The account of an approver on another host proves nothing, but may tell that it is theirs,
        # and so may a certificate that is shown beside a token.
        names = (by, name, approver_name(context) or "", *accounts)
        return Who(by, aliases(self.config.approvers, names))

    def _listed(self, caller: Caller, name: str, accounts: Sequence[str]) -> Approver | None:
        """A token's name is the approver's own, as an admin issued it to them."""
        by_token = caller.via is Via.TOKEN
        for each in self.config.approvers:
            if by_token and each.name == name:
                return each
            if (each.certificate and each.certificate == name and not by_token) or (
                each.account and each.account in accounts
            ):
                return each
        return None


def aliases(approvers: Sequence[Approver], names: Sequence[str]) -> tuple[str, ...]:
    """``names``, and every other one by which the list knows who has one of them: a person may
    stand there more than once, with a certificate here and an account there."""
    found = {name.casefold(): name for name in names if name}
    entries = [
        {name.casefold(): name for name in (each.name, each.certificate, each.account) if name}
        for each in approvers
    ]
    while new := [each for each in entries if found.keys() & each.keys() and each.keys() - found]:
        for each in new:
            found = each | found
    return tuple(found.values())


def _json(value: Any) -> str:
    return json.dumps(value)
