"""A statement that is written or wrapped otherwise keeps its verdict."""

import os
from dataclasses import replace

import pglast.parser
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.conformance.servers import fetch
from tests.guard.entry import Entry, Step, load
from tests.guard.judging import Judging
from tests.guard.mutate import NEIGHBOURS, beside, spaced, tokens_of, wrapped
from tests.guard.play import play_version

PLAIN = settings(
    max_examples=600,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
MAX_CHARS = 400
SEEN_IN_PLANS = frozenset(
    f"destructive/{name}"
    for name in (
        "fold-merge-update",
        "where-folded",
        "where-folded-bound",
        "where-not-null-column",
        "where-scalar",
        "where-scalar-prepared",
        "where-constant-in",
        "where-exists-elsewhere",
        "where-gated-join",
    )
)
"""The server works out that nothing is left of the WHERE, or that it is one question for all rows;
the text does not show it.
"""
PATHS = frozenset(
    ("simple", "extended", "prepared_named", "cte", "unicode", "whitespace", "comment", "pipeline")
)


def _plain(entry: Entry) -> str:
    """The one statement of an entry that can be wrapped, else nothing."""
    if len(entry.steps) != 1 or entry.path not in PATHS or entry.options:
        return ""
    if entry.id in SEEN_IN_PLANS:
        return ""
    text = entry.steps[0].text.decode("utf-8", "replace")
    if len(text) > MAX_CHARS or entry.steps[0].send == "wire" or text.upper().startswith("COPY"):
        return ""
    try:
        tree = pglast.parser.parse_sql_json(text)
    except pglast.parser.ParseError:
        return ""
    tokens = tokens_of(text)
    if tree.count('"stmt":') != 1 or tokens[-1].name == "ASCII_59":
        return ""
    return text


@pytest.fixture(scope="module")
def judging():
    with Judging() as opened:
        yield opened


ENTRIES = load()
FORBIDDEN = [(t, e) for e in ENTRIES if e.rule and not e.harmless and (t := _plain(e))]
HARMLESS = [(t, e) for e in ENTRIES if e.harmless and (t := _plain(e))]
HELD_INSIDE = ("LOAD",)
"""Not looked for in the text of DO; the statement is held where it runs."""


def _may_be_wrapped(text: str, entry: Entry) -> bool:
    """DO itself is forbidden to agents."""
    refused = entry.harmless and entry.login == "assistant"
    return not refused and not text.startswith(HELD_INSIDE)


def _of(entries: list[tuple[str, Entry]], wrap: bool) -> list[tuple[str, Entry]]:
    return [one for one in entries if not wrap or _may_be_wrapped(*one)]


def test_there_is_enough_to_mutate():
    assert len(FORBIDDEN) > 100
    assert len(HARMLESS) > 60


@pytest.mark.parametrize("wrap", [False, True], ids=["written", "wrapped"])
def test_what_is_forbidden_stays_forbidden(judging, wrap):
    @PLAIN
    @given(st.data())
    def check(data):
        text, entry = data.draw(st.sampled_from(_of(FORBIDDEN, wrap)))
        changed = data.draw(spaced(text))
        changed = data.draw(wrapped(changed)) if wrap else changed
        assert judging.refused_by(changed.encode(), entry.login), changed

    check()


@pytest.mark.parametrize("wrap", [False, True], ids=["written", "wrapped"])
def test_what_is_harmless_stays_harmless(judging, wrap):
    @PLAIN
    @given(st.data())
    def check(data):
        text, entry = data.draw(st.sampled_from(_of(HARMLESS, wrap)))
        changed = data.draw(spaced(text))
        changed = data.draw(wrapped(changed)) if wrap else changed
        assert not judging.refused_by(changed.encode(), entry.login), changed

    check()


@pytest.mark.parametrize("harmless", [False, True], ids=["forbidden", "harmless"])
def test_neighbours_in_its_string_change_no_verdict(judging, harmless):
    """All of them at once: what one would hide or add, all do. The same rule decides."""
    neighbours = "; ".join(NEIGHBOURS)
    for text, entry in HARMLESS if harmless else FORBIDDEN:
        if entry.login == "assistant":
            continue  # to an agent each of the neighbours is forbidden
        alone = judging.refused_by(text.encode(), entry.login)
        for string in (f"{neighbours}; {text}", f"{text}; {neighbours}"):
            assert judging.refused_by(string.encode(), entry.login) == alone, (entry.id, text)


def _collected(count: int) -> list[Entry]:
    """Mutations of forbidden and harmless entries, the same ones in each run."""
    out: list[Entry] = []

    @settings(PLAIN, max_examples=count, phases=[Phase.generate])
    @given(st.data())
    def collect(data):
        text, entry = data.draw(st.sampled_from(_of(FORBIDDEN + HARMLESS, wrap=True)))
        changed = data.draw(spaced(text))
        changed = data.draw(data.draw(st.sampled_from((wrapped, beside)))(changed))
        step = Step(changed.encode(), data.draw(st.sampled_from(("simple", "simple", "extended"))))
        if step.send == "extended" and len(pglast.parser.split(changed)) > 1:
            step = Step(step.text, "simple")
        out.append(replace(entry, id=f"{entry.id}~{len(out)}", steps=(step,), rule=""))

    collect()
    return out


@pytest.mark.live
@pytest.mark.kernel
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root")
def test_mutations_keep_their_verdict_on_a_server():
    fetch()
    played = play_version(15, _collected(150)).played
    assert len(played) > 100
    wrong = {one.entry.steps[0].text: one for one in played if one.slipped or one.denied_falsely}
    assert not wrong
