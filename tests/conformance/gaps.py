"""What is known not to conform yet, and why. A gap that has closed must leave this table."""

from dataclasses import dataclass

from tests.conformance.expected import Comparison
from tests.conformance.scenarios import Scenario
from tests.conformance.servers import MAJORS


@dataclass(frozen=True)
class Gap:
    reason: str
    paths: tuple[str, ...]
    kinds: frozenset[str]
    """All that may differ, as ``Comparison.kinds`` calls it."""
    versions: tuple[int, ...] = MAJORS

    def covers(self, major: int, scenario: Scenario) -> bool:
        return major in self.versions and scenario.path in self.paths


KNOWN_GAPS = (
    Gap(
        "Nested statements are not captured.",
        ("routines", "do", "triggers", "routine-errors", "explain-execute"),
        frozenset({"missing"}),
    ),
    Gap(
        "An Execute that stops at its row limit ends without a completion: rows and ends go to the "
        "wrong execution.",
        ("row-limit", "row-limit-one-sync", "row-limit-flushed", "row-limit-two-portals"),
        frozenset({"rows", "duration_us"}),
    ),
    Gap(
        "A deferred constraint in the extended protocol fails at Sync, after CommandComplete: the "
        "statement is recorded as good, and once more as failed.",
        ("deferred-extended",),
        frozenset({"duplicated", "rows", "sqlstate"}),
    ),
    Gap(
        "SQL on a replication connection is recorded twice: when the server asks whether it is a "
        "replication command, and when it runs.",
        ("replication",),
        frozenset({"unexpected", "duplicated", "protocol", "rows", "duration_us"}),
    ),
    Gap(
        "A replication command has begun, by the record, when the one before it did.",
        ("replication-stream",),
        frozenset({"duration_us"}),
        versions=(14, 15, 16, 17, 18),
    ),
    Gap(
        "On PostgreSQL 12 and 13 an error in a pipeline, before execution, is recorded with the "
        "text of the statement before it.",
        ("pipeline-fails",),
        frozenset({"missing", "duplicated", "duration_us", "rows", "sqlstate"}),
        versions=(12, 13),
    ),
    Gap(
        "PostgreSQL 12 and 13 do not export MyBEEntry, so when the client's message arrived is not "
        "known: a statement that fails before it executes has no duration.",
        (
            "multi-statement", "transaction", "errors", "errors-extended", "errors-named",
            "errors-bind", "lock-timeout", "encoding",
        ),
        frozenset({"duration_us"}),
        versions=(12, 13),
    ),
)  # fmt: skip

KNOWN_LOSSES = frozenset({"statement_start_unseen"})
"""The end of a replication stream, and DROP_REPLICATION_SLOT on 12, are answered with two
CommandComplete messages; the second is counted as the end of a statement that nobody saw begin.
"""


def gaps_of(major: int, scenario: Scenario) -> tuple[Gap, ...]:
    return tuple(gap for gap in KNOWN_GAPS if gap.covers(major, scenario))


def is_known(major: int, scenario: Scenario, result: Comparison) -> bool:
    """Whether it differs in nothing but what gaps explain."""
    return result.kinds <= frozenset().union(*(gap.kinds for gap in gaps_of(major, scenario)))
