"""``collector.ledger.tell`` as threads that tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from collector.outside.post import Post
from collector.outside.syslog import Syslog
from collector.outside.telling import Place, Teller
from collector.outside.timestamp import Timestamps
from config.schema import HttpPlace, OutsidePlace, SyslogPlace


def tellers_from(places: Sequence[OutsidePlace], data_dir: Path) -> list[Teller]:
    return [
        Teller(place.name or place.type, _made(place, data_dir), place.every_seconds)
        for place in places
    ]


def _made(place: OutsidePlace, data_dir: Path) -> Place:
    if isinstance(place, SyslogPlace):
        return Syslog(place.socket, place.host, place.port, place.carrier)
    if isinstance(place, HttpPlace):
        return Post(place.url, place.token.get_secret_value() if place.token else "")
    return Timestamps(place.url, data_dir)
