"""``./run conformance``: what pgwarden captured against what clients did."""

import argparse
import json
import signal
import sys
from pathlib import Path

from tests.conformance import report
from tests.conformance.gaps import gaps_in, is_known
from tests.conformance.manner import PLAIN, Manner
from tests.conformance.play import VersionRun, play_version
from tests.conformance.scenarios import SCENARIOS
from tests.conformance.servers import DEBIAN_MAJOR, MAJORS, fetch


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run conformance", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    parser.add_argument("--version", type=int, nargs="+", default=list(MAJORS), choices=MAJORS)
    parser.add_argument("--path", nargs="+", metavar="NAME", help="only these paths")
    parser.add_argument("--docs", action="store_true", help="write docs/conformance.md anew")
    parser.add_argument("--pgaudit", action="store_true", help="both sources on (15 only)")
    parser.add_argument("--enforce", action="store_true", help="statements are held and judged")
    options = parser.parse_args()
    manner = Manner(options.pgaudit, options.enforce)
    if options.pgaudit and options.version != [DEBIAN_MAJOR]:
        parser.error(f"pgaudit is there for {DEBIAN_MAJOR} alone: --version {DEBIAN_MAJOR}")
    chosen = [one for one in SCENARIOS if not options.path or one.path in options.path]
    if not chosen:
        parser.error(f"no such path; there are: {', '.join({one.path: 0 for one in SCENARIOS})}")
    if options.docs and (options.path or options.version != list(MAJORS) or manner != PLAIN):
        parser.error("--docs tells of all versions and paths, and of capture alone")
    # Servers and pgwarden are stopped on the way out; the default action would leave them behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    fetch()
    runs = []
    for major in options.version:
        runs.append(play_version(major, chosen, manner))
        print("\n".join(report.lines(runs[-1])), flush=True)
    if options.json:
        options.json.write_text(json.dumps(report.as_json(runs), indent=1) + "\n")
    if options.docs:
        report.PAGE.write_text(report.page(runs))
    return 0 if all(_as_known(run) for run in runs) else 1


def _as_known(run: VersionRun) -> bool:
    by_name = {one.name: one for one in SCENARIOS}
    # Messages that name what is not there, and records of the log that are longer than is read.
    lost = run.losses.keys() - {"refused_unread", "record_cut" if run.manner.pgaudit else ""}
    return not (run.errors or run.strays or lost) and all(
        is_known(run.major, by_name[name], one, gaps_in(run.manner))
        for name, one in run.results.items()
    )


if __name__ == "__main__":
    sys.exit(main())
