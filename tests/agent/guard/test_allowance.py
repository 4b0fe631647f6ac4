"""The limit on actions, with a clock that the test turns."""

from agent.guard.actions import Allowance


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_so_many_at_once_and_then_one_every_so_often():
    clock = Clock()
    allowance = Allowance(per_minute=10, clock=clock)
    assert [allowance.take() for _ in range(11)] == [True] * 10 + [False]
    clock.now = 5.9
    assert not allowance.take()
    clock.now = 6.1
    assert allowance.take()
    assert not allowance.take()


def test_idle_time_does_not_pile_up_beyond_one_minute():
    clock = Clock()
    allowance = Allowance(per_minute=2, clock=clock)
    clock.now = 3600.0
    assert [allowance.take() for _ in range(3)] == [True, True, False]
