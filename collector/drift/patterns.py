"""Names as people give them: as they are shown, or a pattern as in a shell."""

from __future__ import annotations

from fnmatch import fnmatchcase


def matches(name: str, pattern: str) -> bool:
    """Brackets are a pattern's, too, and the names of rows have some.

    >>> matches("public.flags[checkout]", "public.flags[checkout]")
    True
    >>> matches("public.flags[checkout]", "public.flags*")
    True
    """
    return name == pattern or fnmatchcase(name, pattern)
