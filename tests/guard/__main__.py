"""``./run corpus``: forbidden statements on every way, and harmless ones that look like them."""

import argparse
import json
import signal
import sys
from functools import partial
from pathlib import Path

from tests.conformance.servers import MAJORS, fetch
from tests.guard import report
from tests.guard.entry import PATHS, load
from tests.guard.play import (
    PATIENT,
    QUICK,
    ROUNDS,
    SHIPPED,
    Played,
    VersionRun,
    play_version,
    prove,
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run corpus", description=__doc__)
    parser.add_argument("--version", type=int, nargs="*", default=[12, 15, 18], choices=MAJORS)
    parser.add_argument("--path", nargs="+", metavar="NAME", choices=PATHS, help="only these paths")
    parser.add_argument("--entry", nargs="+", metavar="TEXT", help="entries with this in their id")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    parser.add_argument("--docs", action="store_true", help="write docs/guard-corpus.md anew")
    parser.add_argument(
        "--with",
        dest="earlier",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="results of --json for other versions, for --docs",
    )
    parser.add_argument(
        "--quick", action="store_true", help="cold and warm in one round, as the tests do"
    )
    parser.add_argument(
        "--prove", action="store_true", help="without a guard: every forbidden entry takes effect"
    )
    parser.add_argument(
        "--shipped",
        action="store_true",
        help="with the deadline that an agent comes with, after which statements pass",
    )
    options = parser.parse_args()
    entries = [
        one
        for one in load()
        if (not options.path or one.path in options.path)
        and (not options.entry or any(text in one.id for text in options.entry))
    ]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    fetch()
    rounds = QUICK if options.quick else ROUNDS
    settings = SHIPPED if options.shipped else PATIENT
    runs: list[VersionRun] = []
    for major in options.version:
        if options.prove:
            runs.append(prove(major, entries, lambda one: _tell(one, True)))
        else:
            tell = partial(_tell, proof=False)
            runs.append(play_version(major, entries, tell, rounds, settings))
        print("\n".join(report.lines(runs[-1], proof=options.prove)), flush=True)
        if options.json:
            options.json.write_text(json.dumps(report.as_json(runs), indent=1) + "\n")
    if options.docs:
        results = report.as_json(runs)
        for file in options.earlier:
            results |= json.loads(file.read_text())
        report.PAGE.write_text(report.page(results))
    return 0 if all(not report.surprises(run, options.prove) for run in runs) else 1


def _tell(one: Played, proof: bool) -> None:
    word = report.surprise(one, proof)
    if word:
        print(f"  ✗ {one.entry.id} [{one.entry.path}] {word}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
