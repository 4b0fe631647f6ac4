"""A short run of each target in every test run: its corpus, and some inputs near it."""

import pytest

from tests.fuzz.__main__ import play
from tests.fuzz.mutation import CORPUS, seeds
from tests.fuzz.targets import TARGETS, close

INPUTS = 60
SLOW = {"rules": 15, "configuration": 30}
SEED = 7


@pytest.fixture(scope="module", autouse=True)
def closed():
    yield
    close()


def test_every_target_has_a_corpus_that_stays_small():
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
    assert sum(file.stat().st_size for file in CORPUS.rglob("*") if file.is_file()) < 200_000


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_near_its_corpus_breaks(name):
    for data in seeds(name):
        TARGETS[name](data)
    _, failing = play(name, SEED, SLOW.get(name, INPUTS))
    assert failing is None
