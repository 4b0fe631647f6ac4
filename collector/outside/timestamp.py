"""Heads to a time-stamping authority (RFC 3161): its token proves that the head existed then.

What it answers is kept beside the head that it is about, so that an auditor needs nothing of ours:
``openssl ts -verify -data N.head -in N.tsr -CAfile CA.pem``.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import httpx
from rfc3161_client import TimestampRequestBuilder, decode_timestamp_response

from collector.ledger import fsync_folder
from collector.outside.telling import OutsideError

FOLDER = "timestamps"
TIMEOUT_SECONDS = 20.0
MAX_REPLY_BYTES = 1 << 20
GRANTED = (0, 1)
"""Status granted, and granted with modifications."""


class Timestamps:
    def __init__(self, url: str, data_dir: Path) -> None:
        self._url = url
        self._folder = data_dir / FOLDER
        self._client = httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False)

    def tell(self, line: bytes) -> None:
        """Raises OutsideError, OSError."""
        request = TimestampRequestBuilder().data(line).nonce(nonce=True).build()
        reply = self._ask(request.as_bytes())
        try:
            answer = decode_timestamp_response(reply)
            status, info = answer.status, answer.tst_info
        except ValueError as error:
            raise OutsideError(f"it answered no timestamp: {error}") from error
        if status not in GRANTED:
            raise OutsideError(f"it refused: status {status}")
        if info.message_imprint.message != hashlib.sha512(line).digest():
            raise OutsideError("its timestamp is about something else")
        if info.nonce != request.nonce:
            raise OutsideError("its timestamp is an old one: the nonce is not ours")
        self._keep(int(json.loads(line)["size"]), line, reply)

    def _ask(self, request: bytes) -> bytes:
        headers = {"Content-Type": "application/timestamp-query"}
        try:
            answer = self._client.post(self._url, content=request, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OutsideError(type(error).__name__) from error
        if not answer.is_success or len(answer.content) > MAX_REPLY_BYTES:
            raise OutsideError(f"it answered {answer.status_code}, {len(answer.content)} bytes")
        return answer.content

    def _keep(self, size: int, line: bytes, reply: bytes) -> None:
        """The head first: a token without it would be about nothing."""
        self._folder.mkdir(exist_ok=True, mode=0o700)
        for suffix, data in (("head", line), ("tsr", reply)):
            part = self._folder / f".{size:012d}.{suffix}.part"
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self._folder / f"{size:012d}.{suffix}")
        fsync_folder(self._folder)
