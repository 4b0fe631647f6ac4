"""A restart gives nobody a new budget, and a damaged file stops nobody."""

import time

import pytest

from agent.usage_file import UsageFile
from model.session import BackendKey, Session
from rules import Judge, Usage
from tests.rules.rule_files import load
from tests.rules.test_limits import BUDGET

SESSION = Session(BackendKey(1, 1), "main", "app")


@pytest.fixture
def rules(tmp_path):
    return load(tmp_path, BUDGET)


def used_up(usage, rules):
    now_us = time.monotonic_ns() // 1000
    usage.settle(rules.limits, now_us, 0)
    return bool(usage.exhausted(SESSION))


def test_what_was_counted_is_there_after_a_restart(tmp_path, rules):
    usage = Usage()
    usage.count(rules.limits["budget"], SESSION, 5000, 1, time.monotonic_ns() // 1000)
    file = tmp_path / "usage.json"
    UsageFile(file, usage).save()
    assert file.stat().st_mode & 0o777 == 0o600
    again = Judge(rules).usage
    UsageFile(file, again).load()
    assert used_up(again, rules)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"at_us": 1}', b'{"at_us": "x", "counts": 3}', b"\xff"]
)
def test_a_damaged_file_counts_as_none(tmp_path, rules, data):
    file = tmp_path / "usage.json"
    file.write_bytes(data)
    usage = Usage()
    UsageFile(file, usage).load()
    assert not used_up(usage, rules)


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    UsageFile(tmp_path / "none" / "usage.json", Usage()).save()
