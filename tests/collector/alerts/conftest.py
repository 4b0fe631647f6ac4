"""Fixtures of the alert tests."""

import pytest

from collector.alerts.grouping import Grouper, Policy
from model.verdict import Severity
from tests.collector.alerts.samples import START_US


@pytest.fixture
def alert_of():
    """The alert that a finding becomes."""
    policy = Policy(minimum_severity=Severity.INFORMATIONAL)
    return lambda finding: Grouper(policy).observe(finding, START_US)
