"""A client certificate that the server has verified: a name that cannot be made up. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from agent.identity.clues import UNKNOWN, Clue
from agent.identity.signatures import USER_SIGNATURES
from model.session import Session

CONFIDENCE = 0.95
SUBJECT_BYTES = 63
"""PostgreSQL cuts the subject there (NAMEDATALEN), so the end of a long one is not to be trusted.
"""

_SUBJECT = re.compile(r"(?:/[\w.]+=[^/]*)*/CN=([^/]+)(?:/[\w.]+=[^/]*)*")


def certificate_clues(session: Session) -> Iterator[Clue]:
    subject = session.peer.certificate
    if not subject:
        return
    name = common_name(subject)
    evidence = f"TLS client certificate of {subject!r}, verified by the server"
    if len(subject.encode("utf-8", "replace")) >= SUBJECT_BYTES:
        name, evidence = subject, f"{evidence}, cut by it to {SUBJECT_BYTES} bytes"
    # By the words for logins: a person may have the name of a product.
    kind = next((each.kind for each in USER_SIGNATURES if each.pattern.search(name)), UNKNOWN)
    yield Clue(kind, name, CONFIDENCE, evidence, proven=True)


def common_name(subject: str) -> str:
    """``alice`` of ``/O=shop/CN=alice``. The whole subject where it is not plain to read: a ``/``
    inside of another field would otherwise forge a name."""
    found = _SUBJECT.fullmatch(subject)
    return found[1] if found and subject.count("/CN=") == 1 else subject
