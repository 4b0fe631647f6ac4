"""Identity rules and poolers as configured: patterns over what is known of a session. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import translate
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from agent.identity.clues import Clue
from model.session import IdentityKind, Session

Test = Callable[[str], bool]
Tests = tuple[tuple[str, Test], ...]


class IdentityError(ValueError):
    """What is configured about identities cannot work; the message names the place and the
    remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """All that are given must match.

    ``*`` and ``?`` are wildcards; a pattern that begins with ``~`` is a regular expression for the
    whole value. ``client_address`` is an address, a CIDR range, ``local`` or a pattern. The last
    five are about what was found from outside: they match nothing while it has not been found.
    """

    user: str | None = None
    database: str | None = None
    application_name: str | None = None
    client_address: str | None = None
    certificate: str | None = None
    """The subject, as PostgreSQL shows it: ``/CN=billing``."""
    account: str | None = None
    """Operating system account of the client's process."""
    program: str | None = None
    """File name of its executable."""
    unit: str | None = None
    container: str | None = None


@dataclass(frozen=True, slots=True)
class IdentityRule(Patterns):
    """``{user}``, ``{application_name}`` and ``{account}`` in ``name`` stand for the session's."""

    kind: IdentityKind
    name: str
    confidence: float = 0.9


@dataclass(frozen=True, slots=True)
class PoolerRule(Patterns):
    name: str


def _process(field: str) -> Callable[[Session], str]:
    return lambda session: getattr(session.peer.process, field) if session.peer.process else ""


def program_of(session: Session) -> str:
    """File name of the client's executable, empty if unknown."""
    process = session.peer.process
    return process.executable.rpartition("/")[2] if process else ""


FACTS: Mapping[str, Callable[[Session], str]] = {
    "user": lambda session: session.user,
    "database": lambda session: session.database,
    "application_name": lambda session: session.application_name,
    "client_address": lambda session: session.client_address,
    "certificate": lambda session: session.peer.certificate,
    "account": _process("account"),
    "program": program_of,
    "unit": _process("unit"),
    "container": _process("container"),
}
FOUND_FROM_OUTSIDE = frozenset(("certificate", "account", "program", "unit", "container"))


class Matcher:
    """``place`` begins every message: ``identity rule 3``. Raises IdentityError."""

    def __init__(self, place: str, patterns: Patterns) -> None:
        self._tests = _tests(place, patterns)
        self.from_outside = any(name in FOUND_FROM_OUTSIDE for name, _ in self._tests)

    def matches(self, session: Session) -> bool:
        return all(_holds(name, test, session) for name, test in self._tests)

    def given(self, session: Session) -> str:
        """What matched, for a sentence: ``user 'al' and database 'shop'``."""
        return " and ".join(f"{name} {FACTS[name](session)!r}" for name, _ in self._tests)


class Rules:
    """Raises IdentityError, which names every rule that cannot work."""

    def __init__(self, rules: tuple[IdentityRule, ...]) -> None:
        known, problems = [], []
        for number, rule in enumerate(rules, start=1):
            place = f"identity rule {number}"
            try:
                if not 0 <= rule.confidence <= 1:
                    raise IdentityError(f"{place}: confidence must be from 0 to 1")
                known.append((place, rule, Matcher(place, rule)))
            except IdentityError as error:
                problems.append(str(error))
        if problems:
            raise IdentityError("; ".join(problems))
        self._rules = tuple(known)

    def clues(self, session: Session) -> Iterator[Clue]:
        """Of every rule that matches, in their order, as in pg_hba.conf."""
        for place, rule, matcher in self._rules:
            if matcher.matches(session):
                evidence = f"{place} names {matcher.given(session)}"
                yield Clue(rule.kind, _name(rule.name, session), rule.confidence, evidence, True)


def _name(template: str, session: Session) -> str:
    name = template
    for fact in ("user", "application_name", "account"):
        name = name.replace(f"{{{fact}}}", FACTS[fact](session))
    return name


def _holds(name: str, test: Test, session: Session) -> bool:
    value = FACTS[name](session)
    # "*" over what nobody found would match everyone.
    return test(value) and (bool(value) or name not in FOUND_FROM_OUTSIDE)


def _tests(place: str, patterns: Patterns) -> Tests:
    given = {name: getattr(patterns, name) for name in FACTS}
    tests = tuple(
        (name, address_test(place, p) if name == "client_address" else _test(place, name, p))
        for name, p in given.items()
        if p is not None
    )
    if not tests:
        raise IdentityError(f"{place}: give at least one of {', '.join(FACTS)}")
    return tests


def _test(place: str, name: str, pattern: str) -> Test:
    expression = pattern[1:] if pattern.startswith("~") else translate(pattern)
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise IdentityError(
            f"{place}: {name} {pattern!r} is not a regular expression: {error}"
        ) from None
    return lambda value: compiled.fullmatch(value) is not None


def address_test(place: str, pattern: str) -> Test:
    try:
        network = ip_network(pattern, strict=False)
    except ValueError:
        if "/" in pattern:
            raise IdentityError(
                f"{place}: client_address {pattern!r} is not a CIDR range"
            ) from None
        return _test(place, "client_address", pattern)

    def test(value: str) -> bool:
        address = address_of(value)
        return address is not None and address in network

    return test


def address_of(value: str) -> IPv4Address | IPv6Address | None:
    """None for ``local`` and the unknown. A server that listens on IPv6 may see IPv4 as mapped."""
    try:
        address = ip_address(value.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
