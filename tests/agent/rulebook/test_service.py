"""Rule files change on disk, and what is in force changes with them as a whole or not at all."""

import os
from types import SimpleNamespace

import pytest

from agent.directory import Directory
from agent.rulebook import RuleService
from config.schema import Rules
from rules import RuleError
from tests.rules.rule_files import rule
from tests.waiting import wait_until


class Record:
    """Where changes are told; tasks run at once."""

    def __init__(self) -> None:
        self.changes = []

    def run_soon(self, task) -> None:
        task()

    def add_rules_change(self, change) -> None:
        self.changes.append(change)

    @property
    def outcomes(self) -> list[str]:
        return [change.outcome.value for change in self.changes]


class Kernel:
    """Allowances, in the order in which things happen to them."""

    def __init__(self) -> None:
        self.calls = []

    def reset(self) -> None:
        self.calls.append("reset")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.yaml").write_text(rule(id="first"))
    return tmp_path


@pytest.fixture
def running(folder):
    record, kernel = Record(), Kernel()
    service = RuleService(Rules(packs=[folder]), folder / "state")
    service.start(record, kernel, Directory(lambda session: session), record, record)
    yield SimpleNamespace(service=service, record=record, kernel=kernel, folder=folder)
    service.stop()


def ids(service) -> list[str]:
    return [each.id for each in service.book.edition.judge.rules.rules]


def replace(file, text: str) -> None:
    part = file.with_suffix(".part")
    part.write_text(text)
    os.replace(part, file)


def test_a_file_that_is_replaced_comes_into_force_and_is_on_the_record(running):
    before = running.service.digest
    replace(running.folder / "a.yaml", rule(id="second"))
    wait_until(lambda: ids(running.service) == ["second"], 5)
    wait_until(lambda: len(running.record.changes) == 2, 5)
    started, changed = running.record.changes
    assert (started.source, started.digest, started.previous) == ("start", before, "")
    assert (changed.outcome, changed.source, changed.rules) == ("in_force", "files", 1)
    assert (changed.previous, changed.digest) == (before, running.service.digest)
    assert running.kernel.calls == ["reset"]


def test_a_file_that_is_added_and_one_that_is_removed_count_too(running):
    (running.folder / "b.yaml").write_text(rule(id="second"))
    wait_until(lambda: ids(running.service) == ["first", "second"], 5)
    (running.folder / "a.yaml").unlink()
    wait_until(lambda: ids(running.service) == ["second"], 5)


def test_a_broken_file_keeps_the_old_set_until_it_is_mended(running):
    judge = running.service.book.judge()
    replace(running.folder / "a.yaml", "rules:\n  - id: [\n")
    wait_until(lambda: running.service.problems(), 5)
    (sentence,) = running.service.problems()
    assert f"{running.folder}/a.yaml:3:" in sentence
    assert running.service.broken() == {"files": True}
    assert running.service.book.judge() is judge
    wait_until(lambda: running.record.outcomes == ["in_force", "refused"], 5)
    assert running.record.changes[1].rules == 1
    replace(running.folder / "a.yaml", rule(id="mended"))
    wait_until(lambda: ids(running.service) == ["mended"], 5)
    assert running.service.problems() == []


def test_a_broken_file_that_is_put_back_as_it_was_ends_the_alarm_without_an_exchange(running):
    judge = running.service.book.judge()
    good = (running.folder / "a.yaml").read_text()
    replace(running.folder / "a.yaml", "nonsense")
    wait_until(lambda: running.service.problems(), 5)
    replace(running.folder / "a.yaml", good)
    wait_until(lambda: not running.service.problems(), 5)
    assert running.service.book.judge() is judge
    assert running.kernel.calls == []


@pytest.mark.parametrize("damage", ["unlink", "empty"])
def test_rules_that_are_gone_are_a_broken_set_not_an_empty_one(running, damage):
    file = running.folder / "a.yaml"
    file.unlink() if damage == "unlink" else file.write_text("")
    wait_until(lambda: running.service.problems(), 5)
    assert ids(running.service) == ["first"]


def test_one_bad_file_keeps_the_good_change_beside_it_out(running):
    (running.folder / "b.yaml").write_text(rule(id="first"))
    wait_until(lambda: running.service.problems(), 5)
    (sentence,) = running.service.problems()
    assert "b.yaml:1" in sentence
    assert "a.yaml:1" in sentence
    assert ids(running.service) == ["first"]


def test_a_signal_reads_the_files_again_and_says_again_what_is_wrong(running):
    replace(running.folder / "a.yaml", "nonsense")
    wait_until(lambda: running.record.outcomes[1:] == ["refused"], 5)
    running.service.reload()
    wait_until(lambda: running.record.outcomes[1:] == ["refused", "refused"], 5)
    assert running.record.changes[-1].source == "signal"


def test_where_no_notification_comes_the_files_are_looked_at_all_the_same(folder, monkeypatch):
    monkeypatch.setattr("agent.rulebook.service.FileHints", lambda *_: SimpleNamespace(close=int))
    record = Record()
    service = RuleService(Rules(packs=[folder]), folder / "state")
    service.start(None, None, Directory(lambda session: session), record, record)
    replace(folder / "a.yaml", rule(id="second"))
    wait_until(lambda: ids(service) == ["second"], 5)
    service.stop()


def test_a_file_that_is_written_in_parts_is_read_when_it_is_whole(running):
    whole = "rules:\n" + "".join(
        f"  - id: r{n}\n    title: T\n    severity: low\n    action: alert\n    when: 'true'\n"
        for n in range(40)
    )
    with (running.folder / "a.yaml").open("w") as file:
        for at in range(0, len(whole), 400):
            file.write(whole[at : at + 400])
            file.flush()
    wait_until(lambda: len(ids(running.service)) == 40, 5)
    assert running.record.outcomes == ["in_force", "in_force"]


def test_an_agent_does_not_start_with_rules_that_it_cannot_use(tmp_path):
    (tmp_path / "a.yaml").write_text("nonsense")
    with pytest.raises(RuleError):
        RuleService(Rules(packs=[tmp_path]), tmp_path / "state")


def test_the_same_rules_have_the_same_digest_in_another_folder(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "a.yaml").write_text((folder / "a.yaml").read_text())
    digests = {RuleService(Rules(packs=[each]), each / "state").digest for each in (folder, other)}
    assert len(digests) == 1
