"""Heads to a URL, by POST: whoever answers 2xx has it."""

from __future__ import annotations

import httpx

from collector.outside.telling import OutsideError

TIMEOUT_SECONDS = 10.0


class Post:
    def __init__(self, url: str, token: str = "", verify: bool = True) -> None:
        headers = {"User-Agent": "pgwarden", "Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._url = url
        # A redirect could carry the token to somebody else.
        self._client = httpx.Client(
            timeout=TIMEOUT_SECONDS, headers=headers, follow_redirects=False, verify=verify
        )

    def tell(self, line: bytes) -> None:
        """Raises OutsideError."""
        try:
            answer = self._client.post(self._url, content=line)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The class alone: the message may hold the URL, and the URL a secret.
            raise OutsideError(type(error).__name__) from error
        if not answer.is_success:
            raise OutsideError(f"it answered {answer.status_code}")
