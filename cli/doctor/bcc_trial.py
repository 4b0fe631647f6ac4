"""bcc tried in a process of its own: LLVM ends the whole process over a program that it dislikes.

``python -m cli.doctor.bcc_trial import|load`` says nothing when it works, else reason and remedy.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

from agent.probes.errors import CaptureUnavailable
from agent.probes.loader import open_loader
from agent.probes.ring import ring_size

TRIAL_SECONDS = 30.0
SMALL_RING_BYTES = 4096
FEW_SESSIONS = 16
ROOT = Path(__file__).resolve().parents[2]

What = Literal["import", "load"]


def try_bcc(what: What) -> CaptureUnavailable | None:
    """None when it works."""
    folders = [str(ROOT), *(os.path.abspath(entry) for entry in sys.path if entry)]
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, what],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(folders))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except OSError as error:
        return CaptureUnavailable(f"cannot be tried: {sys.executable}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return CaptureUnavailable(f"bcc did not answer within {TRIAL_SECONDS:g} s")
    if done.returncode == 0:
        return None
    reason, _, remedy = done.stdout.partition("\0")
    return CaptureUnavailable(
        reason or f"bcc ended its process with code {done.returncode}: {done.stderr[-300:]}",
        remedy or "set agent.capture.loader: libbpf",
    )


def main(what: str) -> int:
    from agent.probes.bcc_loader import import_bcc

    try:
        if what == "import":
            import_bcc()
        else:
            loader = open_loader("bcc")
            loader.unload(loader.load(ring_size(SMALL_RING_BYTES), FEW_SESSIONS))
    except CaptureUnavailable as error:
        sys.stdout.write(f"{error.reason}\0{error.remedy}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
