"""What waits for a commit, and how much of it the next one takes: of no agent more than its share.

A commit is as long as what is in it, and everybody in it waits for its end. So who floods has a
part of each, and the rest of what it sent stays for later ones; the others are in whole.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator

from collector.submission import Submission

SHARES = 8
"""One agent among several has at most the eighth part of a commit: at two commits a second some
25,000 rows a second, with which it works off hours of a spool in minutes. Alone it has all."""


class Waiting:
    """In the order in which it came, which stays that of each agent.

    A mark (no rows, no notes) is taken with, or after, all that came before it: who flushes waits
    for that.
    """

    def __init__(self, commit_rows: int) -> None:
        self._commit_rows = commit_rows
        self._all: deque[Submission] = deque()
        self._load_of: Counter[str] = Counter()
        self._taken_of: frozenset[str] = frozenset()
        """Agents in the commit before: one that is between two batches still is somebody."""
        self.due = 0
        """So many rows the next commit takes if nothing else comes; it may be fewer."""

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Submission]:
        return iter(self._all)

    def add(self, submission: Submission) -> None:
        self._all.append(submission)
        agent = submission.agent
        before = self._due_of(agent)
        self._load_of[agent] += submission.load
        self.due += self._due_of(agent) - before

    def replace(self, submissions: Iterable[Submission]) -> None:
        self._all.clear()
        self._load_of.clear()
        self.due = 0
        for submission in submissions:
            self.add(submission)

    def take(self, everything: bool = False) -> list[Submission]:
        """For one commit; ``everything``: shares do not matter any more."""
        most = self._most_of_agent()
        taken, left = (list(self._all), []) if everything else _divided(self._all, most)
        self._taken_of = frozenset(each.agent for each in taken if each.agent)
        self.replace(left)
        return taken

    def _due_of(self, agent: str) -> int:
        load = self._load_of[agent]
        return min(load, self._commit_rows // SHARES) if agent else load

    def _most_of_agent(self) -> int:
        loads = {agent: load for agent, load in self._load_of.items() if agent}
        if len(loads.keys() | self._taken_of) < 2:
            return self._commit_rows
        return min(self._commit_rows // SHARES, level(loads.values(), self._commit_rows))


def level(loads: Iterable[int], most: int) -> int:
    """Who has less is served whole, who has more gets so much, and together it is ``most``.

    >>> level([10, 500, 700], 1000)
    495
    >>> level([10, 20], 1000)
    1000
    """
    ordered, left = sorted(loads), most
    for number, load in enumerate(ordered):
        fair = left // (len(ordered) - number)
        if load > fair:
            return fair
        left -= load
    return most


def _divided(
    waiting: Iterable[Submission], most_of_agent: int
) -> tuple[list[Submission], list[Submission]]:
    """Taken and left. The first of each agent is taken, however much it is."""
    taken: list[Submission] = []
    left: list[Submission] = []
    had: Counter[str] = Counter()
    over: set[str] = set()
    for submission in waiting:
        agent, load = submission.agent, submission.load
        if agent and had[agent] and had[agent] + load > most_of_agent:
            over.add(agent)
        stays = agent in over or (bool(left) and submission.is_mark)
        if not stays:
            had[agent] += load
        (left if stays else taken).append(submission)
    return taken, left
