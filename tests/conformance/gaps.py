"""What is known not to conform yet, and why. A gap that has closed must leave this table."""

from dataclasses import dataclass

from tests.conformance.expected import Comparison
from tests.conformance.manner import Manner
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


KNOWN_GAPS: tuple[Gap, ...] = ()
AUDITED = (
    Gap(
        "pgaudit writes when the executor starts, which is at Bind: what is bound and never"
        " executed has a row, of its log alone.",
        ("never-executed",),
        frozenset(("unexpected",)),
    ),
)
"""Where its log is read as well."""


def gaps_in(manner: Manner) -> tuple[Gap, ...]:
    return (*KNOWN_GAPS, *AUDITED) if manner.pgaudit else KNOWN_GAPS


def gaps_of(major: int, scenario: Scenario, gaps: tuple[Gap, ...]) -> tuple[Gap, ...]:
    return tuple(gap for gap in gaps if gap.covers(major, scenario))


def is_known(
    major: int, scenario: Scenario, result: Comparison, gaps: tuple[Gap, ...] = KNOWN_GAPS
) -> bool:
    """Whether it differs in nothing but what gaps explain."""
    covering = [gap.kinds for gap in gaps if gap.covers(major, scenario)]
    return result.kinds <= frozenset().union(*covering)
