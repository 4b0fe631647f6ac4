"""What a schema's own lines tell: collations, conversions, operator classes and text search."""

from __future__ import annotations

import re
from collections.abc import Iterator

from collector.drift.lines import Part
from collector.drift.plan.quoting import name, role
from collector.drift.plan.steps import Phase, Step, by_hand

_KEY = re.compile(
    r"(?P<what>collation|conversion|operator class|operator family"
    r"|text search (?:configuration|dictionary|template|parser)) (?P<own>.+?)"
    r"(?: of (?P<method>\S+))?",
    re.DOTALL,
)
_DROPPED = (
    "text search configuration", "text search dictionary", "text search template",
    "text search parser", "conversion", "operator class", "operator family", "collation",
)  # fmt: skip
"""What stands on others first."""
_OWNER = ", owner "
ONLY_A_HASH = "it cannot be made again from what is kept"


def dropped(schema: str, keys: list[str]) -> Iterator[Step]:
    """All that ``keys`` of its lines name."""
    found = [(match, key) for key in keys if (match := _KEY.fullmatch(key))]
    for match, _ in sorted(found, key=lambda each: _DROPPED.index(each[0]["what"])):
        what, thing = match["what"], f"{schema}.{name(match['own'])}"
        using = f" USING {name(match['method'])}" if match["method"] else ""
        collation = what == "collation"
        yield Step(
            Phase.DROP_COLLATION if collation else Phase.DROP_IN_SCHEMA,
            f"DROP {what.upper()} {thing}{using}",
            loses=not collation,
            note="" if collation else ONLY_A_HASH,
            about=thing,
        )


def missing(schema: str, lines: dict[str, str]) -> Iterator[Step]:
    for key, text in lines.items():
        if match := _KEY.fullmatch(key):
            thing = f"{schema}.{match['own']}"
            yield by_hand(Phase.TYPE, f"create {match['what']} {thing} again: {text}", thing)


def changed(schema: str, part: Part) -> Iterator[Step]:
    """Nothing where no statement changes that."""
    match = _KEY.fullmatch(part.key)
    if match is None:
        return
    if part.before is None:
        yield from dropped(schema, [part.key])
    elif part.after is None:
        yield from missing(schema, {part.key: part.before})
    else:
        (wanted, _, owner), (now, _, _) = (
            text.rpartition(_OWNER) for text in (part.before, part.after)
        )
        if wanted == now and owner:
            using = f" USING {name(match['method'])}" if match["method"] else ""
            thing = f"{match['what'].upper()} {schema}.{name(match['own'])}{using}"
            yield Step(Phase.OWNER, f"ALTER {thing} OWNER TO {role(owner)}")
