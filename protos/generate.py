"""Regenerates the code under protos/pgwarden from the .proto files.

``python -m protos.generate`` writes it; ``--check`` writes nothing and exits with 1 when what is
committed differs from what the compiler makes now.
"""

import argparse
import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("protos/pgwarden/v1")


def generate(into: Path) -> None:
    """Compile every .proto file; raises CalledProcessError with the compiler's words on stderr."""
    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / PACKAGE).glob("*.proto"))
    outputs = [f"--{kind}_out={into}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, *sources]
    subprocess.run(command, cwd=ROOT, check=True)


def stale_files() -> list[str]:
    """Names of generated files that are missing, different, or left from a deleted .proto."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh, kept = Path(folder) / PACKAGE, ROOT / PACKAGE
        names = {path.name for place in (fresh, kept) for path in place.glob("*_pb2*.py*")}
        _, different, missing = filecmp.cmpfiles(fresh, kept, sorted(names), shallow=False)
    return sorted(different + missing)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true", help="only compare")
    if not arguments.parse_args().check:
        generate(ROOT)
        return 0
    stale = stale_files()
    for name in stale:
        print(f"{PACKAGE / name} is not current: run python -m protos.generate", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
