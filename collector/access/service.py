"""The Access service: issue, list and revoke tokens; each is in the ledger before the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import grpc

from collector.access.door import Door
from collector.access.tokens import Token, TokenError, Tokens
from protos.pgwarden.v1 import access_pb2 as pb
from protos.pgwarden.v1 import access_pb2_grpc

ISSUED = "token_issued"
REVOKED = "token_revoked"


class Record(Protocol):
    """Where notes become durable."""

    def note_durably(self, kind: str, **fields: str | int) -> bool: ...


class AccessService(access_pb2_grpc.AccessServicer):
    def __init__(self, tokens: Tokens, door: Door, record: Record) -> None:
        self._tokens = tokens
        self._door = door
        self._record = record

    def Issue(  # noqa: N802 - gRPC's name
        self, request: pb.IssueTokenRequest, context: grpc.ServicerContext
    ) -> pb.IssueTokenReply:
        by = self._door.admit(context, "Access.Issue").known_as(request.accounts)
        try:
            secret, token = self._tokens.issue(request.name, request.role, request.lasts_us, by)
        except TokenError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except OSError as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, f"cannot be kept: {error.strerror}")
        if not self._note(ISSUED, [token], by):
            self._tokens.revoke(token.id)
            context.abort(grpc.StatusCode.UNAVAILABLE, "the record cannot be written: no token")
        return pb.IssueTokenReply(id=token.id, secret=secret, ends_at_us=token.ends_at_us)

    def List(  # noqa: N802
        self, request: pb.ListTokensRequest, context: grpc.ServicerContext
    ) -> pb.ListTokensReply:
        self._door.admit(context, "Access.List")
        return pb.ListTokensReply(tokens=map(_told, self._tokens.all()))

    def Revoke(  # noqa: N802
        self, request: pb.RevokeTokenRequest, context: grpc.ServicerContext
    ) -> pb.RevokeTokenReply:
        by = self._door.admit(context, "Access.Revoke").known_as(request.accounts)
        try:
            gone = self._tokens.revoke(request.token)
        except TokenError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except OSError as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, f"cannot be removed: {error.strerror}")
        self._note(REVOKED, gone, by)  # revoked all the same: a full disk must not keep it alive
        return pb.RevokeTokenReply(ids=[token.id for token in gone])

    def _note(self, kind: str, tokens: Sequence[Token], by: str) -> bool:
        return all(
            self._record.note_durably(
                kind, token=t.id, name=t.name, role=t.role.value, ends_at_us=t.ends_at_us, by=by
            )
            for t in tokens
        )


def _told(token: Token) -> pb.Token:
    return pb.Token(
        id=token.id,
        name=token.name,
        role=token.role.value,
        issued_at_us=token.issued_at_us,
        ends_at_us=token.ends_at_us,
        by=token.by,
    )
