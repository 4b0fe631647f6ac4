"""``python -m bench.world --seed 7 --days 30 --out FOLDER``: Parquet per day and labels.json."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import orjson
import polars as pl

from bench.world.world import World


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--days", type=int, default=30)
    arguments.add_argument("--out", type=Path, required=True, help="a folder; files are replaced")
    arguments.add_argument("--clean", action="store_true", help="without campaigns")
    chosen = arguments.parse_args()
    world = World(chosen.seed, chosen.days, campaigns=not chosen.clean)
    chosen.out.mkdir(parents=True, exist_ok=True)
    rows = write_days(world, chosen.out)
    (chosen.out / "labels.json").write_bytes(orjson.dumps(labels(world), option=2) + b"\n")
    print(f"{rows:,} statements, {len(world.campaigns)} campaigns in {chosen.out}")


def write_days(world: World, folder: Path) -> int:
    """``day-NN.parquet`` for each day; gives the number of rows."""
    begun, rows, day, pieces = time.monotonic(), 0, 0, []

    def write() -> None:
        frame = pl.concat(pieces)
        frame.write_parquet(folder / f"day-{day + 1:02}.parquet", compression="zstd")
        took = time.monotonic() - begun
        print(f"day {day + 1}/{world.days}: {frame.height:,} statements, {took:.0f} s", flush=True)

    for number, batch in world.by_day():
        if number != day and pieces:
            write()
            pieces = []
        day = number
        pieces.append(batch)
        rows += batch.height
    if pieces:
        write()
    return rows


def labels(world: World) -> dict[str, object]:
    return {
        "seed": world.seed,
        "days": world.days,
        "from_us": world.start_us,
        "to_us": world.end_us,
        "identities": [
            {"name": who.called, "role": who.role, "kind": who.kind, "login": who.user_name}
            for who in world.identities
        ],
        "campaigns": [campaign.to_json() for campaign in world.campaigns],
        "distractors": [distractor.to_json() for distractor in world.distractors],
    }


if __name__ == "__main__":
    main()
