"""SQL by name and oldest supported major version: ``hba_12.sql``, ``hba_16.sql``."""

from functools import cache
from importlib.resources import files


@cache
def query(name: str, major: int) -> bytes:
    """The newest text of ``name`` that a server of this major version understands.

    A server older than all of them gets the oldest: it may still answer, and its error is a
    sentence in the snapshot's problems.
    """
    known = {
        int(entry.name.removesuffix(".sql").rpartition("_")[2]): entry
        for entry in files(__package__).iterdir()
        if entry.name.endswith(".sql") and entry.name.rpartition("_")[0] == name
    }
    if not known:
        raise LookupError(f"there is no query named {name}")
    fitting = [version for version in known if version <= major]
    return known[max(fitting, default=min(known))].read_bytes()
