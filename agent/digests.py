"""What stands for a statement's text outside this host.

SHA-256 of a text with a short secret in it can be searched for the secret, wherever in the text it
stands. Under a key that never leaves the host, equal texts still have equal digests, and nobody
else can try one.
"""

import hmac
from collections.abc import Callable

Seal = Callable[[str], str]

_PURPOSE = b"statement digest:"


def unsealed(digest: str) -> str:
    return digest


def sealed_with(key: bytes) -> Seal:
    """Digest (hex) -> its HMAC-SHA256 under ``key`` (hex); where there is none, none."""

    begun = hmac.new(key, _PURPOSE, "sha256")  # half the work, and for every text the same

    def seal(digest: str) -> str:
        if not digest:
            return ""
        sealed = begun.copy()
        sealed.update(digest.encode())
        return sealed.hexdigest()

    return seal
