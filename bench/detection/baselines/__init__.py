"""What others do, in the same harness: one method a file."""

from __future__ import annotations

from collections.abc import Callable

from bench.detection.baselines.baseline import Baseline
from bench.detection.baselines.bytes_z import BytesZ
from bench.detection.baselines.first_pairs import FirstPairs
from bench.detection.baselines.half_space import HalfSpace
from bench.detection.baselines.isolation import Isolation
from bench.detection.baselines.keywords import Keywords
from bench.detection.baselines.new_terms import NewTerms
from bench.detection.baselines.role_bayes import RoleBayes

BASELINES: dict[str, Callable[[], Baseline]] = {
    "bytes_z3": BytesZ,
    "new_terms_7d": NewTerms,
    "first_abnormal_pairs": FirstPairs,
    "keyword_rules": Keywords,
    "naive_bayes_roles": RoleBayes,
    "half_space_trees": HalfSpace,
    "isolation_forest": Isolation,
}
"""A new one for each world."""
