"""Who is behind a login: configured rules first, then what a client's own name gives away. Pure.

How clues combine, so that the same session always gives the same identity:

1. The first configured rule that matches decides kind and name, as in pg_hba.conf. Without one the
   signature with the highest confidence decides, at a tie the earlier in ``SIGNATURES``.
2. Every other clue of the same kind raises the confidence as independent evidence does,
   ``1 - (1 - a)(1 - b)``, to at most 0.99; every clue of another kind lowers it, ``a * (1 - b/2)``.
3. Each clue leaves one sentence of evidence, the deciding one first.

A client may send any application_name, so a signature alone never gives more than 0.7.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from agent.identity_signatures import SIGNATURES, USER_SIGNATURES, Signature
from model.session import Identity, IdentityKind, Session

MAX_CONFIDENCE = 0.99
Test = Callable[[str], bool]
MATCHED = ("user", "database", "application_name", "client_address")


class IdentityError(ValueError):
    """A pattern that cannot be read; the message names the rule and the field."""


@dataclass(frozen=True, slots=True)
class IdentityRule:
    """All patterns that are given must match.

    ``*`` and ``?`` are wildcards; a pattern that begins with ``~`` is a regular expression for the
    whole value. ``client_address`` is an address, a CIDR range, ``local`` or a pattern. ``{user}``
    and ``{application_name}`` in ``name`` stand for the session's own.
    """

    kind: IdentityKind
    name: str
    confidence: float = 0.9
    user: str | None = None
    database: str | None = None
    application_name: str | None = None
    client_address: str | None = None


@dataclass(frozen=True, slots=True)
class Clue:
    kind: IdentityKind
    name: str
    confidence: float
    evidence: str


class IdentityMap:
    """Raises IdentityError, which names every rule that cannot work."""

    def __init__(self, rules: tuple[IdentityRule, ...] = ()) -> None:
        known, problems = [], []
        for number, rule in enumerate(rules, start=1):
            try:
                known.append((number, rule, _tests(number, rule)))
            except IdentityError as error:
                problems.append(str(error))
        if problems:
            raise IdentityError("; ".join(problems))
        self._rules = tuple(known)

    def identify(self, session: Session) -> Identity:
        clues = [*self._configured(session), *_signed(session)]
        if not clues:
            return Identity()
        first, *others = clues
        return Identity(
            kind=first.kind,
            name=first.name,
            confidence=_combined(first, others),
            evidence=tuple(clue.evidence for clue in clues),
        )

    def _configured(self, session: Session) -> Iterator[Clue]:
        for number, rule, tests in self._rules:
            if all(test(getattr(session, name)) for name, test in tests):
                given = " and ".join(f"{n} {getattr(session, n)!r}" for n, _ in tests)
                evidence = f"identity rule {number} names {given}"
                name = rule.name.replace("{user}", session.user)
                name = name.replace("{application_name}", session.application_name)
                yield Clue(rule.kind, name, rule.confidence, evidence)


def _signed(session: Session) -> list[Clue]:
    clues = [
        *_clues(SIGNATURES, "application_name", session.application_name, session),
        *_clues(USER_SIGNATURES, "user", session.user, session),
    ]
    return sorted(clues, key=lambda clue: -clue.confidence)


def _clues(
    signatures: tuple[Signature, ...], field: str, value: str, session: Session
) -> Iterator[Clue]:
    """At most one for each kind: three words for the same tool are not three witnesses."""
    seen: set[IdentityKind] = set()
    for signature in signatures if value else ():
        if signature.kind not in seen and signature.pattern.search(value):
            seen.add(signature.kind)
            # A tool is not a person: the login is the better name, except for an AI's own product.
            ai = signature.kind is IdentityKind.AI_AGENT
            name = signature.what if ai and field != "user" else session.user or signature.what
            evidence = f"{field} {value!r} is typical of {signature.what}"
            yield Clue(signature.kind, name, signature.confidence, evidence)


def _combined(first: Clue, others: list[Clue]) -> float:
    confidence = first.confidence
    for clue in others:
        if clue.kind is first.kind:
            # A certainty that the configuration states stays what it is.
            raised = 1 - (1 - confidence) * (1 - clue.confidence)
            confidence = max(confidence, min(raised, MAX_CONFIDENCE))
        else:
            confidence *= 1 - clue.confidence / 2
    return round(confidence, 3)


def _tests(number: int, rule: IdentityRule) -> tuple[tuple[str, Test], ...]:
    if not 0 <= rule.confidence <= 1:
        raise IdentityError(f"identity rule {number}: confidence must be from 0 to 1")
    given = [(name, getattr(rule, name)) for name in MATCHED if getattr(rule, name) is not None]
    if not given:
        raise IdentityError(f"identity rule {number}: give at least one of {', '.join(MATCHED)}")
    return tuple(
        (
            name,
            _address_test(number, pattern)
            if name == "client_address"
            else _test(number, name, pattern),
        )
        for name, pattern in given
    )


def _test(number: int, name: str, pattern: str) -> Test:
    expression = pattern[1:] if pattern.startswith("~") else translate(pattern)
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise IdentityError(
            f"identity rule {number}: {name} {pattern!r} is not a regular expression: {error}"
        ) from None
    return lambda value: compiled.fullmatch(value) is not None


def _address_test(number: int, pattern: str) -> Test:
    try:
        network = ip_network(pattern, strict=False)
    except ValueError:
        if "/" in pattern:
            raise IdentityError(
                f"identity rule {number}: client_address {pattern!r} is not a CIDR range"
            ) from None
        return _test(number, "client_address", pattern)

    def test(value: str) -> bool:
        address = _address(value)
        return address is not None and address in network

    return test


def _address(value: str) -> IPv4Address | IPv6Address | None:
    """None for ``local`` and the unknown. A server that listens on IPv6 may see IPv4 as mapped."""
    try:
        address = ip_address(value.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
