"""COPY among other statements, on the wire protocol by hand: drivers send it alone."""

from collections.abc import Callable

from tests.conformance.clients.wire import Wire, endings
from tests.conformance.diary import Diary
from tests.conformance.expected import Outcome
from tests.conformance.place import Place, Step, agree, step

INTO = "COPY items FROM STDIN"
OUT_OF = "COPY (SELECT generate_series(1, 2000)) TO STDOUT"
ADD = "INSERT INTO items VALUES (7, 'beside')"
COUNTS = (3, 0, 3000)


def _give(wire: Wire, rows: int) -> Wire:
    """Data for one COPY, in lines of which none ends where a message does."""
    data = "".join(f"{1000 + number}\tcopied among others\n" for number in range(rows)).encode()
    for start in range(0, len(data), 10_007):
        wire.add(b"d", data[start : start + 10_007])
    return wire.add(b"c")


def in_strings(place: Place) -> Diary:
    """Two COPY in and one out in one string; then a string that fails behind one."""
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        for rows in COUNTS:
            text = f"SELECT 1; {INTO}; {ADD}; {INTO}; {OUT_OF}; SELECT 2"
            counts = (1, rows, 1, 5, 2000, 1)
            whole = Step(text, tuple(Outcome(each) for each in counts))
            with diary.doing(whole, together=True):
                messages = wire.query(text).send().until(b"G")
                messages += _give(wire, rows).send().until(b"G")
                messages += _give(wire, 5).send().until(b"Z")
            told = ["SELECT 1", f"COPY {rows}", "INSERT 0 1", "COPY 5", "COPY 2000", "SELECT 1"]
            agree(whole, told, endings(messages))
        text = f"{INTO}; SELECT 1/0"
        failing = Step(text, (Outcome(2), Outcome(None, "22012")))
        with diary.doing(failing, together=True):
            messages = wire.query(text).send().until(b"G")
            messages += _give(wire, 2).send().until(b"Z")
        agree(failing, ["COPY 2", "22012"], endings(messages))
    return diary


def in_pipelines(place: Place) -> Diary:
    """COPY asked for by Execute: alone, and among others under one Sync."""
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        for rows in COUNTS:
            with diary.doing(into := step(INTO, rows)):
                messages = wire.parse(INTO).bind().execute().send().until(b"G")
                messages += _give(wire, rows).sync().send().until(b"Z")
            agree(into, [f"COPY {rows}"], endings(messages))
            steps = (step(ADD, 1), step(INTO, rows), step(OUT_OF, 2000), step(ADD, 1))
            with diary.doing(*steps, together=True):
                wire.parse(ADD).bind().execute().parse(INTO).bind().execute()
                messages = wire.send().until(b"G")
                _give(wire, rows).parse(OUT_OF).bind().execute().parse(ADD).bind().execute()
                messages += wire.sync().send().until(b"Z")
            told = ["INSERT 0 1", f"COPY {rows}", "COPY 2000", "INSERT 0 1"]
            agree(steps[0], told, endings(messages))
    return diary


PLAYS: dict[str, Callable[[Place], Diary]] = {
    "copy-in-strings": in_strings,
    "copy-in-pipelines": in_pipelines,
}
