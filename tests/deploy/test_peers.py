"""A test whose program is missing is skipped on a desk, and fails in a gate."""

import pytest

from tests.deploy.peers import need


def test_a_missing_program_skips_with_the_remedy(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"no-such-program not installed: \./run setup"):
        need("sh", "no-such-program")


def test_a_missing_program_fails_where_ci_is_set(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program not installed"):
        need("no-such-program")


def test_programs_that_are_there_are_taken(monkeypatch):
    monkeypatch.setenv("CI", "true")
    need("sh")
