"""What a commit takes of what waits: of one that floods a part, of the others all."""

import random

from hypothesis import given
from hypothesis import strategies as st

from collector.sharing import SHARES, Waiting, level
from collector.submission import BatchId, Submission

COMMIT_ROWS = 400
SHARE = COMMIT_ROWS // SHARES


def batch(agent, sequence, weight):
    return Submission({}, BatchId(agent, 1, sequence), weight=weight)


def waiting(*submissions):
    made = Waiting(COMMIT_ROWS)
    made.replace(submissions)
    return made


def numbers(group):
    return [(each.agent, each.batch.sequence) for each in group if each.batch]


def test_of_who_floods_a_commit_takes_a_share_and_of_the_others_all():
    queue = waiting(*(batch("flood", n, 10) for n in range(1, 100)), batch("quiet", 1, 10))
    taken = queue.take()
    assert ("quiet", 1) in numbers(taken)
    assert sum(each.load for each in taken if each.agent == "flood") == SHARE
    assert len(queue) == 99 - SHARE // 10


def test_who_is_alone_has_a_whole_commit():
    queue = waiting(*(batch("alone", n, 10) for n in range(1, 100)))
    assert sum(each.load for each in queue.take()) == COMMIT_ROWS


def test_one_that_was_in_the_last_commit_is_still_somebody():
    """Agents send four times a second: between two batches nobody else is to have it all."""
    queue = waiting(batch("quiet", 1, 10))
    queue.take()
    for number in range(1, 100):
        queue.add(batch("flood", number, 10))
    assert sum(each.load for each in queue.take()) == SHARE


def test_many_floods_leave_the_others_what_they_have():
    floods = [batch(f"flood-{n % 10}", n, 10) for n in range(1, 1000)]
    queue = waiting(*floods, *(batch(f"quiet-{n}", 1, 5) for n in range(20)))
    taken = queue.take()
    assert sum(each.agent.startswith("quiet") for each in taken) == 20
    assert sum(each.load for each in taken) <= COMMIT_ROWS


def test_a_flood_alone_does_not_start_a_commit_early():
    queue = waiting(*(batch("flood", n, 10) for n in range(1, 1000)), batch("quiet", 1, 10))
    assert queue.due < COMMIT_ROWS
    for number in range(SHARES):
        queue.add(batch(f"busy-{number}", 1, SHARE))
    assert queue.due >= COMMIT_ROWS


def test_one_batch_that_is_more_than_a_share_is_taken_all_the_same():
    queue = waiting(batch("large", 1, 10 * COMMIT_ROWS), batch("large", 2, 1), batch("quiet", 1, 1))
    assert numbers(queue.take()) == [("large", 1), ("quiet", 1)]
    assert numbers(queue.take()) == [("large", 2)]


def test_a_mark_is_taken_after_all_that_came_before_it():
    mark = Submission({})
    queue = waiting(*(batch("flood", n, SHARE) for n in (1, 2, 3)), batch("quiet", 1, 1), mark)
    assert mark not in queue.take()
    assert mark not in queue.take()
    assert queue.take()[-1] is mark


def test_a_repeat_is_taken_after_the_batch_that_it_repeats():
    """It settles with what is durable: taken earlier, it would acknowledge what is not."""
    first, second = batch("flood", 1, SHARE), batch("flood", 2, SHARE)
    queue = waiting(first, second, second.again(undecided=False), batch("quiet", 1, 1))
    assert numbers(queue.take()) == [("flood", 1), ("quiet", 1)]
    assert [each.batch for each in (*queue.take(), *queue.take())] == [second.batch, None]


def test_our_own_rows_are_in_the_next_commit():
    own = Submission({}, notes=({"kind": "order"},))
    queue = waiting(*(batch("flood", n, SHARE) for n in (1, 2, 3)), batch("quiet", 1, 1), own)
    assert own in queue.take()


def test_at_the_end_all_is_taken():
    queue = waiting(*(batch(f"host-{n % 2}", n, SHARE) for n in range(1, 50)))
    assert len(queue.take(everything=True)) == 49


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 500)), max_size=60))
def test_all_is_taken_once_in_the_order_of_each_agent(sent):
    queue, taken = Waiting(COMMIT_ROWS), []
    dice = random.Random(len(sent))
    for number, (agent, weight) in enumerate(sent, 1):
        queue.add(batch(agent, number, weight))
        if dice.random() < 0.2:
            taken += queue.take()
    while len(queue):
        group = queue.take()
        assert group
        taken += group
    assert queue.due == 0
    for agent in "abc":
        mine = [number for name, number in numbers(taken) if name == agent]
        assert mine == [n for n, (name, _) in enumerate(sent, 1) if name == agent]


@given(st.lists(st.integers(0, 1000), max_size=20), st.integers(1, 5000))
def test_a_level_gives_all_that_may_be_given(loads, most):
    given_out = sum(min(load, level(loads, most)) for load in loads)
    assert given_out <= most
    assert given_out > most - max(1, len(loads)) or given_out == sum(loads)
