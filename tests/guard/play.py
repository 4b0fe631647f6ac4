"""One version: every entry played before a real agent that enforces, judged by its effect."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg

from config.schema import Guard
from tests.guard import policy
from tests.guard.client import Client, Seen
from tests.guard.entry import Entry, Step
from tests.guard.stage import Stage, State, changed
from tests.live.running import Running

ROUNDS = ("first", "warm", "in a transaction")
QUICK = ("first and warm",)
"""Played twice in a row, and looked at once."""
BLOCKED = "blocked by pgwarden"
PATIENT: Mapping[str, object] = {"deadline_ms": 5000, "on_timeout": "deny"}
"""Longer than in real life: what counts is what rules stop, not how busy the machine is."""
SHIPPED: Mapping[str, object] = Guard().model_dump(include={"deadline_ms", "on_timeout"})
"""What an agent comes with: 200 ms, and what is late passes."""


@dataclass(frozen=True)
class Played:
    """What became of one entry. Forbidden ones: ``effects`` must be empty. Harmless ones:
    ``denials`` must be."""

    entry: Entry
    effects: tuple[str, ...] = ()
    """What took effect, and in which round."""
    denials: tuple[str, ...] = ()
    """Messages of the guard that the client read."""
    errors: tuple[str, ...] = ()
    """Other errors that it read."""
    broken: str = ""
    """It could not be played at all."""

    @property
    def slipped(self) -> bool:
        return not self.entry.harmless and bool(self.effects)

    @property
    def denied_falsely(self) -> bool:
        return self.entry.harmless and bool(self.denials)

    @property
    def rules(self) -> frozenset[str]:
        return frozenset(one.split("rule ", 1)[1].split(":")[0] for one in self.denials)


@dataclass
class VersionRun:
    major: int
    played: list[Played] = field(default_factory=list)
    seconds: float = 0
    rounds: int = 1
    log: str = ""
    unheld: dict[str, int] = field(default_factory=dict)
    """Statements that passed unjudged, by reason, as the agent counted them."""


def play_version(
    major: int,
    entries: Sequence[Entry],
    tell: Callable[[Played], None] = lambda _: None,
    rounds: Sequence[str] = ROUNDS,
    settings: Mapping[str, object] = PATIENT,
) -> VersionRun:
    """Everything before an agent that enforces, with these ``settings`` of its guard."""
    began = time.monotonic()
    run = VersionRun(major, rounds=len(rounds))
    with ExitStack() as stack:
        stage = stack.enter_context(Stage(major))
        running = stack.enter_context(guarded(stage, settings))
        for one in _play(stage, entries, rounds):
            run.played.append(one)
            tell(one)
        run.log = running.log
        run.unheld = _unheld(running)
    run.seconds = round(time.monotonic() - began, 1)
    return run


def prove(
    major: int, entries: Sequence[Entry], tell: Callable[[Played], None] = lambda _: None
) -> VersionRun:
    """Without a guard: every forbidden entry must take effect, else it proves nothing; its setup
    must have none outside of schema attack, unless it says so."""
    began = time.monotonic()
    run = VersionRun(major)
    with Stage(major) as stage:
        for one in _play(stage, entries, rounds=ROUNDS[:1], proof=True):
            run.played.append(one)
            tell(one)
    run.seconds = round(time.monotonic() - began, 1)
    return run


UNHELD = (
    "unheld", "signal", "urgent_statement", "urgent_no_lock", "table_full", "stranger",
    "released_by_watchdog",
)  # fmt: skip


def _unheld(running: Running) -> dict[str, int]:
    metrics = running.metrics(running.agent_port)
    counts = {
        reason: sum(
            int(value)
            for name, value in metrics.items()
            if name.startswith("pgwarden_agent_events_lost_total{") and f'"{reason}"' in name
        )
        for reason in UNHELD
    }
    return {reason: count for reason, count in counts.items() if count}


@contextmanager
def guarded(stage: Stage, settings: Mapping[str, object] = PATIENT) -> Iterator[Running]:
    rules = policy.write(stage.server.folder / "rules")
    running = Running(stage.server, configuration(rules, settings))
    try:
        running.start("agent")
        yield running
    finally:
        running.__exit__()


def configuration(rules: Path, settings: Mapping[str, object] = PATIENT) -> dict:
    return {
        "agent": {
            "capture": {"pgaudit": False, "rescan_seconds": 5},
            "catalog": {"interval_seconds": 60},
            "guard": {"mode": "enforce", "contact": "dba@example.com", **settings},
            "rules": {"packs": [str(rules)]},
            "identities": [{"user": "assistant", "kind": "ai_agent", "name": "assistant"}],
        },
    }


def _play(
    stage: Stage, entries: Sequence[Entry], rounds: Sequence[str] = ROUNDS, proof: bool = False
) -> Iterator[Played]:
    """Forbidden ones first, and the world as it was before each; then the harmless ones."""
    wanted = [one for one in entries if one.runs_on(stage.server.major)]
    baseline = stage.state()
    for entry in (one for one in wanted if not one.harmless):
        played, dirty = _attack(stage, _placed(entry, stage), baseline, rounds, proof)
        if dirty:
            stage.reset(baseline)
        yield played
    for entry in (one for one in wanted if one.harmless):
        yield _visit(stage, _placed(entry, stage))


def _placed(entry: Entry, stage: Stage) -> Entry:
    """With the places of this run in its texts."""

    def fill(step: Step) -> Step:
        return Step(step.text.replace(b"{loot}", str(stage.loot).encode()), step.send)

    setup = entry.setup.replace("{loot}", str(stage.loot))
    return replace(entry, steps=tuple(fill(step) for step in entry.steps), setup=setup)


def _attack(
    stage: Stage, entry: Entry, baseline: State, rounds: Sequence[str], proof: bool
) -> tuple[Played, bool]:
    """The entry in one session, again and again: cold, warm, within a transaction. The world is
    compared in full where something may have moved. Whether it is another one afterwards."""
    effects: list[str] = []
    seen = Seen()
    untouched = baseline
    moved = False
    try:
        if entry.setup:
            stage.set_up(entry.setup)
        if entry.outside or (entry.setup and proof):
            baseline = stage.state()
            if (baseline != untouched) is not entry.outside:
                told = "; ".join(changed(untouched, baseline)) or "nothing"
                return Played(entry, broken=f"its setup changes {told} outside"), True
        mark = stage.mark()
        client = Client(_conninfo(stage, entry))  # to connect may be to attack
    except psycopg.Error as error:
        return Played(entry, broken=f"setup: {error}"), True
    try:
        before = client.ask(entry.probe) if entry.effect == "session" else ""
        for name in rounds:
            steps = entry.steps
            if name == ROUNDS[2]:
                if entry.alone or _has_transaction(entry):
                    continue
                steps = (Step(b"BEGIN", "simple"), *steps, Step(b"COMMIT", "simple"))
            leaked = client.seen.leaked
            client.play(steps)
            if name in QUICK:
                client.play(steps)
            before_this, mark = mark, stage.mark()
            moving = mark != before_this
            moved |= moving
            effect = _effect(entry, client, stage, baseline if moving else None, before, leaked)
            effects += [f"{name}: {effect}"] if effect else []
            if effect and entry.effect != "leak":
                break
        seen = client.seen
    except (psycopg.Error, OSError, RuntimeError) as error:
        return Played(entry, tuple(effects), broken=f"{type(error).__name__}: {error}"), True
    finally:
        client.close()
    dirty = bool(effects) and entry.effect == "state"
    try:
        if not dirty and (entry.setup or moved):
            stage.clean()
            # Where it moved, _effect has looked; but not of what reads or turns a setting.
            unseen = entry.outside or (moved and entry.effect != "state")
            dirty = unseen and bool(changed(untouched, stage.state()))
    except psycopg.Error as error:
        return Played(entry, tuple(effects), broken=f"afterwards: {error}"), True
    return _played(entry, effects, seen), dirty


def _effect(
    entry: Entry, client: Client, stage: Stage, baseline: State | None, before: str, leaked: int
) -> str:
    """``baseline``: None where nothing can have changed."""
    if entry.effect == "leak":
        return "a secret was read" if client.seen.leaked > leaked else ""
    if entry.effect == "session":
        after = client.ask(entry.probe)
        return f"{before} became {after}" if before != after and after != "error" else ""
    return "; ".join(changed(baseline, stage.state())) if baseline is not None else ""


def _has_transaction(entry: Entry) -> bool:
    return any(
        step.text.lstrip().upper().startswith((b"BEGIN", b"START", b"COMMIT"))
        or step.send in ("call", "wire", "portal", "pipeline")
        for step in entry.steps
    )


def _visit(stage: Stage, entry: Entry) -> Played:
    """A harmless entry; whatever it changes is undone."""
    try:
        if entry.setup:
            stage.set_up(entry.setup)
        client = Client(_conninfo(stage, entry))
    except psycopg.Error as error:
        return Played(entry, broken=f"setup: {error}")
    wrapped = not (entry.alone or _has_transaction(entry))
    steps = (Step(b"BEGIN", "simple"), *entry.steps, Step(b"ROLLBACK", "simple"))
    try:
        client.play(steps if wrapped else entry.steps)
        seen = client.seen
    except (psycopg.Error, OSError, RuntimeError) as error:
        return Played(entry, broken=f"{type(error).__name__}: {error}")
    finally:
        client.close()
    try:
        if entry.setup:
            stage.clean()
    except psycopg.Error as error:
        return Played(entry, broken=f"afterwards: {error}")
    return _played(entry, [], seen)


def _conninfo(stage: Stage, entry: Entry) -> str:
    more = {"replication": "database"} if _replicates(entry) else {}
    return stage.conninfo(entry.login, entry.options, **more)


def _replicates(entry: Entry) -> bool:
    return any(step.send == "replication" for step in entry.steps)


def _played(entry: Entry, effects: list[str], seen: Seen) -> Played:
    denials = dict.fromkeys(text for _, text in seen.errors if BLOCKED in text)
    errors = dict.fromkeys(f"{code} {text}" for code, text in seen.errors if BLOCKED not in text)
    return Played(entry, tuple(effects), tuple(denials), tuple(errors))
