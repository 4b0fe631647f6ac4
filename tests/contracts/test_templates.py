"""Clusters of one kind are made once, those of another for themselves."""

import pytest

from tests.live import templates
from tests.live.templates import make_or_copy


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setattr(templates, "TEMPLATES", tmp_path / "templates")
    made = []

    def make(name, *options, binary=tmp_path / "postgres"):
        data = tmp_path / name

        def initdb():
            made.append(name)
            data.mkdir(mode=0o700)
            (data / "PG_VERSION").write_text("15\n")
            (data / "wal").write_bytes(bytes(1 << 20))

        if not binary.exists():
            binary.touch()
        make_or_copy(binary, ("--pgdata", str(data), *options), initdb)
        assert data.stat().st_mode & 0o777 == 0o700
        assert sorted(path.name for path in data.iterdir()) == ["PG_VERSION", "wal"]
        assert (data / "wal").stat().st_size == 1 << 20
        return list(made)

    return make


def test_the_second_of_one_kind_is_a_copy_that_knows_nothing_of_the_first(make, tmp_path):
    make("a", "--locale=C")
    (tmp_path / "a" / "wal").write_bytes(b"used")
    assert make("b", "--locale=C") == ["a"]


@pytest.mark.parametrize("name", ["LANG", "TZ"])
def test_another_option_program_or_surrounding_is_another_kind(make, tmp_path, monkeypatch, name):
    make("a", "--locale=C")
    assert make("b", "--locale=C.UTF-8") == ["a", "b"]
    assert make("c", "--locale=C", binary=tmp_path / "newer") == ["a", "b", "c"]
    monkeypatch.setenv(name, "odd")
    assert make("d", "--locale=C") == ["a", "b", "c", "d"]


def test_of_two_that_make_the_first_at_once_one_is_kept(make, tmp_path):
    make("a")
    (template,) = templates.TEMPLATES.iterdir()
    templates._keep(tmp_path / "a", template)
    assert [*templates.TEMPLATES.iterdir()] == [template]
