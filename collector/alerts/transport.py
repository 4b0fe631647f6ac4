"""Posts a Request over HTTP, with deadlines; foreign errors are translated here, once."""

import time
from collections.abc import Callable

import httpx

from collector.alerts.plain import plain
from collector.alerts.receiver import Delivery, Outcome, Request, judge

Transport = Callable[[Request], Delivery]

_REPLY_BYTES = 4096
_DETAIL_CHARACTERS = 200


class HttpTransport:
    """One connection pool. Safe to share between threads."""

    def __init__(self, *, timeout_seconds: float = 10.0, verify: bool | str = True) -> None:
        self._timeout_seconds = timeout_seconds
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_seconds, connect=min(3.0, timeout_seconds)),
            verify=verify,
            headers={"User-Agent": "pgwarden"},
            # A redirect could carry routing key and alert to somebody else.
            follow_redirects=False,
        )

    def __call__(self, request: Request) -> Delivery:
        try:
            with self._client.stream(
                "POST", request.url, content=request.body, headers=dict(request.headers)
            ) as response:
                detail = plain(
                    self._prefix(response).decode("utf-8", "replace"), _DETAIL_CHARACTERS
                )
                return judge(response.status_code, detail, _retry_after(response))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The class alone: the message may hold the URL, and the URL a secret.
            return Delivery(Outcome.RETRY, type(error).__name__)

    def close(self) -> None:
        self._client.close()

    def _prefix(self, response: httpx.Response) -> bytes:
        """The start of the body; a receiver that drips bytes does not hold us past the deadline."""
        deadline = time.monotonic() + self._timeout_seconds
        body = b""
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) >= _REPLY_BYTES or time.monotonic() > deadline:
                break
        return body[:_REPLY_BYTES]


def _retry_after(response: httpx.Response) -> float:
    """Seconds; the form with a date is rare and treated as absent."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), 3600.0) if text.isascii() and text.isdigit() else 0.0
