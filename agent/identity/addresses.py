"""The address map: who is behind an address, from a YAML file. Parsing is pure.

- address: 10.1.0.0/16
  name: shop-backend
  kind: service
  confidence: 0.7
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import yaml

from agent.identity.clues import Clue
from agent.identity.rules import IdentityError, address_of
from model.session import IdentityKind, Session

DEFAULT_CONFIDENCE = 0.6
"""An address is shared by all that runs behind it."""
MAX_BYTES = 4 * 1024 * 1024
KEYS = ("address", "name", "kind", "confidence")
KINDS = tuple(kind.value for kind in IdentityKind)


@dataclass(frozen=True, slots=True)
class AddressEntry:
    network: IPv4Network | IPv6Network
    name: str
    kind: IdentityKind
    confidence: float
    place: str
    """``addresses.yaml:12``."""


class AddressMap:
    """The narrowest range that holds an address counts."""

    def __init__(self, entries: Iterable[AddressEntry] = ()) -> None:
        self._entries: dict[tuple[int, int], dict[int, AddressEntry]] = {}
        for entry in entries:
            network = entry.network
            size = (network.version, network.prefixlen)
            self._entries.setdefault(size, {})[int(network.network_address)] = entry
        self._sizes = sorted(self._entries, key=lambda size: -size[1])

    def __len__(self) -> int:
        return sum(map(len, self._entries.values()))

    def clues(self, session: Session) -> Iterator[Clue]:
        entry = self.entry(session.client_address)
        if entry is not None:
            evidence = f"address {session.client_address} is {entry.name!r} in {entry.place}"
            yield Clue(entry.kind, entry.name, entry.confidence, evidence)

    def entry(self, value: str) -> AddressEntry | None:
        address = address_of(value) if self._sizes else None
        if address is None:
            return None
        for version, prefix in self._sizes:
            if version != address.version:
                continue
            bits = address.max_prefixlen - prefix
            entry = self._entries[version, prefix].get(int(address) >> bits << bits)
            if entry is not None:
                return entry
        return None


def read_address_map(path: Path) -> AddressMap:
    """Raises IdentityError with every problem, each with file, line and remedy."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise IdentityError(
            f"{path}: cannot be read: {error.strerror}; correct agent.identity.address_map"
        ) from None
    if len(data) > MAX_BYTES:
        raise IdentityError(f"{path}: is larger than {MAX_BYTES} bytes; use ranges")
    return AddressMap(parse_address_map(data, path.name))


def parse_address_map(data: bytes, name: str) -> list[AddressEntry]:
    """``name`` of the file, for messages. Raises IdentityError."""
    try:
        node = yaml.compose(data.decode("utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise IdentityError(f"{name}: is not UTF-8 at byte {error.start}") from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        raise IdentityError(f"{where}: is not YAML: {getattr(error, 'problem', error)}") from None
    if node is None:
        return []
    if not isinstance(node, yaml.SequenceNode):
        raise IdentityError(f"{name}:1: must be a list; begin each entry with '- address:'")
    entries, problems = [], []
    seen: dict[object, str] = {}
    for item in node.value:
        place = f"{name}:{item.start_mark.line + 1}"
        try:
            entry = _entry(item, place)
            if first := seen.get(entry.network):
                raise IdentityError(f"{place}: {entry.network} stands at {first}; remove one")
            seen[entry.network] = place
            entries.append(entry)
        except IdentityError as error:
            problems.append(str(error))
    if problems:
        raise IdentityError("; ".join(problems))
    return entries


def _entry(node: Any, place: str) -> AddressEntry:
    fields = _fields(node, place)
    for key in ("address", "name"):
        if not fields.get(key):
            raise IdentityError(f"{place}: has no {key}; give one")
    kind = fields.get("kind", IdentityKind.SERVICE.value)
    if kind not in KINDS:
        raise IdentityError(f"{place}: kind {kind!r} is none of {', '.join(KINDS)}")
    return AddressEntry(
        _network(fields["address"], place),
        fields["name"],
        IdentityKind(kind),
        _confidence(fields.get("confidence"), place),
        place,
    )


def _fields(node: Any, place: str) -> dict[str, str]:
    if not isinstance(node, yaml.MappingNode):
        raise IdentityError(f"{place}: must be a mapping with {', '.join(KEYS)}")
    fields: dict[str, str] = {}
    for key, value in node.value:
        if key.value not in KEYS:
            raise IdentityError(f"{place}: unknown key {key.value!r}; there are {', '.join(KEYS)}")
        if not isinstance(value, yaml.ScalarNode):
            raise IdentityError(f"{place}: {key.value} must be a single value")
        fields[key.value] = value.value
    return fields


def _network(text: str, place: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise IdentityError(
            f"{place}: {text!r} is no address or CIDR range; names are not resolved, give addresses"
        ) from None
    raise IdentityError(f"{place}: {text} has bits beyond its prefix; write {network}")


def _confidence(text: str | None, place: str) -> float:
    if text is None:
        return DEFAULT_CONFIDENCE
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise IdentityError(f"{place}: confidence {text!r} must be a number from 0 to 1")
    return value
