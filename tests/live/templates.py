"""initdb runs once for each kind of cluster; the other tests get copies.

It takes three quarters of a second of processor time, a copy a tenth, and the gate makes some two
hundred clusters. Copies share the server's system identifier, which nothing of ours reads.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

TEMPLATES = Path(__file__).parents[2] / "build" / "clusters"
SEEN_BY_INITDB = ("LANG", "LC_ALL", "LC_MESSAGES", "TZ")


def make_or_copy(binary: Path, words: tuple[str, ...], initdb: Callable[[], None]) -> None:
    """What ``initdb``, called with these ``words``, would make with the server ``binary``."""
    data = Path(words[words.index("--pgdata") + 1])
    template = TEMPLATES / _kind(binary, tuple(word for word in words if word != str(data)))
    if not template.exists():
        initdb()
        _keep(data, template)
    else:
        _copy(template, data)


def _kind(binary: Path, options: tuple[str, ...]) -> str:
    file = binary.stat()
    around = tuple(os.environ.get(name) for name in SEEN_BY_INITDB)
    what = (str(binary), file.st_mtime_ns, file.st_size, os.geteuid(), options, around)
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def _keep(data: Path, template: Path) -> None:
    """Of several tests that make the first one at the same time one keeps it."""
    TEMPLATES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TEMPLATES) as folder:
        made = Path(folder) / "data"
        _copy(data, made)
        try:
            made.rename(template)
        except OSError:
            if not template.exists():
                raise


def _copy(source: Path, target: Path) -> None:
    """As it is: with its owner, its modes, and the empty end of its write-ahead log left empty."""
    copy = [shutil.which("cp") or "cp", "--archive", "--sparse=always", str(source), str(target)]
    subprocess.run(copy, check=True)
