"""Which requests go where there are too many: the oldest of whoever asks most. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collector.approvals.book import Request

Item = TypeVar("Item")
Name = TypeVar("Name", bound=Hashable)

MOST_REQUESTS = 5_000
MOST_OF_AGENT = 500
_OPEN = ("pending", "denied")
"""What is over by itself goes before them: a denial that is forgotten is asked for once more."""


def surplus(requests: Iterable[Request]) -> list[Request]:
    """What exceeds its share, never a living grant. An agent's share is at most ``MOST_OF_AGENT``,
    and of that each who sends there has one: a host that floods pushes out its own requests,
    and a login its own."""
    oldest_first = sorted(requests, key=_worth)
    agents = _grouped(oldest_first, lambda each: each.bound.agent)
    wanted = {agent: min(len(its), MOST_OF_AGENT) for agent, its in agents.items()}
    gone: list[Request] = []
    for agent, share in shares(wanted, MOST_REQUESTS).items():
        if len(agents[agent]) <= share:
            continue
        senders = _grouped(agents[agent], _sender)
        sizes = {sender: len(theirs) for sender, theirs in senders.items()}
        for sender, kept in shares(sizes, share).items():
            gone += senders[sender][: len(senders[sender]) - kept]
    return [each for each in gone if each.status != "granted"]


def shares(wanted: Mapping[Name, int], most: int) -> dict[Name, int]:
    """Who wants less than an even part has all of it, and the others divide the rest. Where there
    are more of them than there is, the first get nothing.

    >>> shares({"a": 2, "b": 90, "c": 50}, 60)
    {'a': 2, 'c': 29, 'b': 29}
    """
    given: dict[Name, int] = {}
    for place, name in enumerate(sorted(wanted, key=wanted.__getitem__)):
        given[name] = min(wanted[name], most // (len(wanted) - place))
        most -= given[name]
    return given


def _sender(asked: Request) -> Hashable:
    """Only what is proven: a name that a client gives itself would be a new share each time."""
    return asked.bound.cluster, asked.bound.user, asked.bound.identity


def _worth(asked: Request) -> tuple[bool, bool, int]:
    return asked.status == "granted", asked.status in _OPEN, asked.last_us


def _grouped(items: Iterable[Item], name: Callable[[Item], Name]) -> dict[Name, list[Item]]:
    found: defaultdict[Name, list[Item]] = defaultdict(list)
    for each in items:
        found[name(each)].append(each)
    return found
