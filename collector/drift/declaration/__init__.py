"""The desired state as a file: what `pgwarden drift export` writes and `drift plan` reads."""

from collector.drift.declaration.document import Declaration, DeclarationError, read_declaration
from collector.drift.declaration.implicit import complete, gaps, implicit
from collector.drift.declaration.writing import export

__all__ = [
    "Declaration",
    "DeclarationError",
    "complete",
    "export",
    "gaps",
    "implicit",
    "read_declaration",
]
