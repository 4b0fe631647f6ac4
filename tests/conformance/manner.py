"""What else is on beside capture by eBPF."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Manner:
    pgaudit: bool = False
    """All classes are logged, and its log is read."""
    enforce: bool = False
    """Statements are held and judged; nothing that scenarios do is refused."""


PLAIN = Manner()
