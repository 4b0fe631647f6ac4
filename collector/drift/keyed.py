"""Hashes of secrets are made with a key of each agent: those of two keys say nothing about whether
the secret is another one. An agent that got a key, or lost it, has not changed its servers.
"""

from __future__ import annotations

from collections.abc import Iterable

from collector.drift.baseline import Fact, Facts, same_but_for_keys, without_hashes


def accepting(accepted: Facts, observed: Facts, changed: Iterable[str]) -> Facts:
    """``accepted`` with the hashes of ``observed`` where only the key is another one. ``changed``:
    names whose value is another one than at the last look."""
    suspects = [
        n for n in changed if _has_hash(n, observed.get(n)) or _has_hash(n, accepted.get(n))
    ]
    if not suspects:
        return accepted
    after = {**accepted}
    gone: dict[str, list[str]] = {}
    for name in suspects:
        if name in accepted and name not in observed:
            gone.setdefault(without_hashes(name), []).append(name)
    for name in suspects:
        seen = observed.get(name)
        if seen is None:
            continue
        # A key of a watched row may be a secret itself: each row that is gone is one new row.
        rows = gone.get(without_hashes(name), [])
        for former in [name] if name in accepted else list(rows):
            if _same(former, accepted[former], name, seen):
                after.pop(former, None)
                after[name] = seen
                if former in rows:
                    rows.remove(former)
                break
    return after


def _same(former: str, known: Fact, name: str, seen: Fact) -> bool:
    named = former == name or same_but_for_keys(former, name)
    return named and (known.value == seen.value or same_but_for_keys(known.value, seen.value))


def _has_hash(name: str, fact: Fact | None) -> bool:
    return fact is not None and ("hidden " in fact.value or "hidden " in name)
