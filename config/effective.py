"""Which settings a program runs with, told without their values: who hears of it sees what changed.

A digest hides no value that can be guessed; secrets are not in it, but only that they are set.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

DIGEST_CHARACTERS = 16


def digests(config: BaseModel) -> dict[str, str]:
    """By dotted name, as in the file; a list's items by their place."""
    return dict(_leaves("", config.model_dump(mode="json")))


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if value and isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _leaves(f"{name}.{key}" if name else str(key), item)
        return
    text = json.dumps(value, sort_keys=True).encode()
    yield name, hashlib.sha256(text).hexdigest()[:DIGEST_CHARACTERS]
