"""``pgwarden ledger``: what the record proves about itself, from its files alone."""

from __future__ import annotations

import json as json_
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.context import ConfigOption, Exit, JsonOption, err, fail, out, printable, read_config

if TYPE_CHECKING:
    from collector.pgwarden_verify import Report
    from collector.proofs import Prover

NAMES = {
    "statement": ("statement_id",),
    "request": ("request",),
    "finding": ("id", "finding_id"),
    "rule": ("rule_id",),
}
"""Columns by which events are found: ``statement:4711``."""
TRIES = 3
Told = Annotated[
    Path | None, typer.Option("--heads", help="Heads that were kept outside the collector.")
]

app = typer.Typer(no_args_is_help=True, help="Verify the record, and prove what is in it.")


@app.command()
def head(json: JsonOption = False, config: ConfigOption = None) -> None:
    """The newest signed head: how many entries, their Merkle root, when, by which key."""
    from collector.heads import NAME
    from collector.proofs import ProofError, newest_head

    try:
        found = newest_head(read_config(config).collector.data_dir / NAME)
    except (ProofError, OSError) as error:
        fail(str(error))
    if json:
        typer.echo(json_.dumps(found, sort_keys=True))
        return
    at = datetime.fromtimestamp(found["at_us"] / 1e6, UTC)
    out.print(f"{found['size']} entries, signed {at:%Y-%m-%d %H:%M:%S} UTC by {found['key']}")
    out.print(f"root {found['root']}")


@app.command()
def verify(
    heads: Told = None,
    key: Annotated[
        Path | None, typer.Option("--key", help="The public key, from outside as well.")
    ] = None,
    cosigners: Annotated[
        Path | None,
        typer.Option(help="Public keys of agents, from outside: each of them must have signed."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data", help="Another data directory, a copy for instance.")
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Check every line, segment, security event and signed head; no collector is needed."""
    from collector.pgwarden_verify import BAD

    folder = data_dir or read_config(config).collector.data_dir
    if not folder.is_dir():
        fail(f"{folder} is no folder")
    try:
        report = _checked(folder, heads, key, cosigners)
    except (OSError, *BAD) as error:
        fail(str(error))
    _show(report, json)
    if report.problems:
        raise typer.Exit(Exit.FOUND)


@app.command()
def prove(
    event: Annotated[
        str,
        typer.Argument(
            metavar="EVENT",
            help="17 (a ledger entry), 17.3 (its third security event), or statement:, request:, "
            "finding: or rule: with an id.",
        ),
    ],
    heads: Told = None,
    config: ConfigOption = None,
) -> None:
    """Proofs, one JSON object a line, for pgwarden_verify.py --proof."""
    from collector.proofs import ProofError, Prover

    try:
        prover = Prover(read_config(config).collector.data_dir, heads)
        proofs = list(_proofs(prover, event))
        for problem in prover.unread:
            err.print(f"! {printable(problem)}", markup=False, soft_wrap=True)
    except (ProofError, OSError) as error:
        fail(str(error))
    if not proofs:
        fail(f"no security event {event} in the record")
    for proof in proofs:
        typer.echo(json_.dumps(proof, sort_keys=True))


@app.command()
def rotate(config: ConfigOption = None) -> None:
    """A new key for heads, named and signed by the older one; stop the collector first."""
    from collector.heads import HeadsError, Sealing
    from collector.key_rotation import RotationError
    from collector.key_rotation import rotate as rotate_key
    from collector.ledger import LedgerError
    from collector.store import StoreError, lock_folder

    settings = read_config(config).collector
    sealing = Sealing(settings.ledger.key, settings.ledger.heads_to)
    if not settings.data_dir.is_dir():
        fail(f"{settings.data_dir} is no folder")
    try:
        with lock_folder(settings.data_dir):
            old, new = rotate_key(settings.data_dir, sealing)
    except (RotationError, HeadsError, LedgerError, StoreError, OSError) as error:
        fail(str(error))
    out.print(f"✓ heads are signed by {new} from now on; {old} named it and signs no more")
    out.print(f"  Keep a copy of {settings.data_dir / 'ledger.pub'} outside: it has both now.")


def _checked(folder: Path, heads: Path | None, key: Path | None, cosigners: Path | None) -> Report:
    """Once more where the ledger has grown meanwhile and a segment is missing: a living collector
    removes what it has merged, and hashing all of a long record takes longer than it waits."""
    from collector.ledger_reading import NAME
    from collector.pgwarden_verify import check_folder

    for _ in range(TRIES):
        size = (folder / NAME).stat().st_size
        report = check_folder(folder, heads, key, cosigners)
        report.problems += _contradictions(folder)
        is_missing = any(problem.endswith(" is missing") for problem in report.problems)
        if not is_missing or (folder / NAME).stat().st_size == size:
            break
    return report


def _proofs(prover: Prover, event: str) -> list[dict[str, Any]]:
    entry, dot, number = event.partition(".")
    if entry.isdecimal() and not dot:
        return [prover.entry(int(entry))]
    if entry.isdecimal() and number.isdecimal():
        return [prover.event(int(entry), int(number))]
    kind, _, wanted = event.partition(":")
    if kind not in NAMES or not wanted:
        fail(f"{event!r} names no event: see pgwarden ledger prove --help", Exit.USAGE)
    return [prover.event(*place) for place in prover.matching(_has(NAMES[kind], wanted))]


def _has(columns: tuple[str, ...], wanted: str) -> Callable[[dict[str, Any]], bool]:
    return lambda event: any(str(event.get(column)) == wanted for column in columns)


def _contradictions(folder: Path) -> list[str]:
    """What needs Parquet to be read: the rows behind the roots of security events."""
    from collector.proofs import Prover

    return list(Prover(folder).contradictions())


def _show(report: Report, json: bool) -> None:
    if json:
        fields = ("entries", "signed", "told", "cosigned", "segments", "notices", "problems")
        typer.echo(json_.dumps({name: getattr(report, name) for name in fields}))
        return
    counted = f"{report.entries} entries ({report.signed} signed), {report.segments} segments"
    counted += f", {report.told} heads from outside"
    for agent, entries in report.cosigned.items():
        out.print(f"  {printable(agent)} signed {entries} entries", markup=False, soft_wrap=True)
    marked = [("!", each) for each in report.notices] + [("✗", each) for each in report.problems]
    for mark, text in marked:
        out.print(f"{mark} {printable(text)}", markup=False, soft_wrap=True)
    verdict = "✗ it does not hold" if report.problems else "✓ everything holds"
    out.print(f"{verdict}: {counted}", markup=False, soft_wrap=True)
