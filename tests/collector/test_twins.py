"""Two agents with one name are told from one that is started again."""

from collector.twins import PAST_US, Twins
from protos.pgwarden.v1 import uplink_pb2 as pb


def hello(instance, host="db1", boot="b1"):
    return pb.Hello(agent="db1", epoch=1, instance=instance, host=host, boot_id=boot)


def test_an_agent_that_is_restarted_again_and_again_is_one():
    twins = Twins()
    for number in range(50):
        for _ in range(3):  # streams of one process
            assert twins.observe(hello(f"p{number}"), number) is None
    assert twins.now(50) == {}


def test_a_process_that_comes_back_after_another_one_shows_two_which_are_told_once():
    twins = Twins()
    assert twins.observe(hello("a"), 1) is None
    assert twins.observe(hello("b", "db2", "b2"), 2) is None
    assert twins.observe(hello("a"), 3) == {
        "agent": "db1",
        "host": "db1",
        "boot_id": "b1",
        "other_host": "db2",
        "other_boot_id": "b2",
    }
    assert [twins.observe(hello("ba"[n % 2]), 4 + n) for n in range(20)] == [None] * 20
    assert "agent.name" in twins.now(24)["db1"]
    assert twins.now(24 + PAST_US) == {}


def test_it_is_told_again_where_both_come_back_after_a_while():
    twins = Twins()
    told = [twins.observe(hello(each), 1) for each in "aba"]
    assert told[-1]
    assert twins.observe(hello("b"), 2 + PAST_US)


def test_agents_from_before_there_was_an_instance_are_known_by_host_and_boot():
    twins = Twins()
    assert [twins.observe(hello(""), n) for n in range(5)] == [None] * 5
    twins.observe(hello("", boot="b2"), 6)
    assert twins.observe(hello(""), 7)
