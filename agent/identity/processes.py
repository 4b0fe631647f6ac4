"""What the client's own process on this host tells. Pure.

Pid, account, unit and container come from the kernel; names of programs are whatever the account
that started them chose.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.identity.clues import Clue, best_of_each_kind
from agent.identity.signatures import ANCESTOR_SIGNATURES, PROGRAM_SIGNATURES, SIGNATURES, Signature
from model.session import IdentityKind, PeerProcess, Session

HUMAN, SERVICE, AI = IdentityKind.HUMAN, IdentityKind.SERVICE, IdentityKind.AI_AGENT
UNIT_CONFIDENCE = 0.7
CONTAINER_CONFIDENCE = 0.5
TERMINAL_CONFIDENCE = 0.4
LOGIN_SESSION_CONFIDENCE = 0.4
AI_PROGRAM_GAIN = 0.1
"""A program that runs convinces more than a name that it sends."""
SHARED_ACCOUNTS = frozenset(("", "root", "postgres"))


def process_clues(session: Session) -> list[Clue]:
    """At most one for each kind. A tool that an AI assistant started speaks for no person."""
    process = session.peer.process
    if process is None:
        return []
    found = best_of_each_kind(list(_clues(process, session)))
    if any(clue.kind is AI for clue in found):
        return [clue for clue in found if clue.kind is not HUMAN]
    return found


def described(process: PeerProcess) -> str:
    """``pid 812 psql, account alice, session-4.scope``: for people."""
    account = process.account or (str(process.uid) if process.uid >= 0 else "")
    parts = (
        f"pid {process.pid} {process.command or process.name}".strip(),
        f"account {account}" if account else "",
        process.unit,
        process.container,
    )
    return ", ".join(part for part in parts if part)


def _clues(process: PeerProcess, session: Session) -> Iterator[Clue]:
    place = f"process {process.pid}"
    person = session.user if process.account in SHARED_ACCOUNTS else process.account
    if program := _program(process):
        name = person if program.kind is HUMAN else session.user
        evidence = f"{place} of {process.account or process.uid} runs {program.what}"
        yield Clue(program.kind, name, program.confidence, evidence)
    for word in (process.command, process.name):
        if ai := _first(SIGNATURES, word, AI):
            confidence = min(1.0, ai.confidence + AI_PROGRAM_GAIN)
            yield Clue(AI, ai.what, confidence, f"{place} runs {word!r}, typical of {ai.what}")
    for ancestor in process.ancestors:
        for signature in ANCESTOR_SIGNATURES:
            if signature.pattern.fullmatch(ancestor):
                name = ancestor if signature.kind is AI else person
                evidence = f"{place} was started under {ancestor!r}, {signature.what}"
                yield Clue(signature.kind, name, signature.confidence, evidence)
    yield from _surroundings(process, person, place)


def _surroundings(process: PeerProcess, person: str, place: str) -> Iterator[Clue]:
    if process.unit.endswith(".service") and not process.unit.startswith("user@"):
        name = process.unit.removesuffix(".service")
        yield Clue(SERVICE, name, UNIT_CONFIDENCE, f"{place} belongs to unit {process.unit}")
    if process.unit.startswith("session-"):
        evidence = f"{place} belongs to the login session {process.unit}"
        yield Clue(HUMAN, person, LOGIN_SESSION_CONFIDENCE, evidence)
    if process.container:
        evidence = f"{place} runs in container {process.container}"
        yield Clue(SERVICE, process.container, CONTAINER_CONFIDENCE, evidence)
    if process.terminal:
        yield Clue(HUMAN, person, TERMINAL_CONFIDENCE, f"{place} has a terminal")


def _program(process: PeerProcess) -> Signature | None:
    words = [process.executable, *process.command.split()]
    names = [word.rpartition("/")[2] for word in words]
    return next(
        (each for each in PROGRAM_SIGNATURES if any(map(each.pattern.fullmatch, names))), None
    )


def _first(signatures: tuple[Signature, ...], text: str, kind: IdentityKind) -> Signature | None:
    return next(
        (each for each in signatures if each.kind is kind and each.pattern.search(text)), None
    )
