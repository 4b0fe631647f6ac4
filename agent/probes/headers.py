"""Kernel headers for the bcc loader: ``python -m agent.probes.headers``.

bcc wants the running kernel's own headers. Our program touches no kernel struct, so those of
another version serve as well: where the running kernel has none, an installed version is linked as
its build and source folders.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

MODULES = Path("/lib/modules")
LINKS = ("build", "source")
REMEDY = "apt-get install linux-headers-amd64"


class HeadersError(Exception):
    """No headers can be provided; the text says why and what to do."""


def provide(release: str | None = None, modules: Path = MODULES) -> Path:
    """The running kernel's build folder, linked when it is missing. Raises HeadersError."""
    target = modules / (release or os.uname().release)
    if (target / "build").is_dir():
        return target / "build"
    donor = _installed(modules)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in LINKS:
            link = target / name
            if link.is_symlink():
                link.unlink()  # it leads nowhere, or build would have been a folder
            if (donor / name).is_dir():
                link.symlink_to((donor / name).resolve())
    except OSError as error:
        raise HeadersError(f"cannot link kernel headers: {error}; run this as root") from error
    return target / "build"


def _installed(modules: Path) -> Path:
    found = [
        folder
        for folder in (sorted(modules.iterdir()) if modules.is_dir() else ())
        if (folder / "build").is_dir()
    ]
    if not found:
        raise HeadersError(f"no kernel headers are installed: {REMEDY}")
    return found[-1]


def main() -> int:
    try:
        print(f"kernel headers: {provide().resolve()}")
    except HeadersError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
