"""Agent and collector of different releases speak what both know, or say who is to be upgraded."""

import pytest

from protos import versions
from protos.versions import PROTOCOL, ProtocolError, spoken


def test_the_older_of_both_is_spoken():
    assert spoken(0, 0) == 0
    assert spoken(PROTOCOL, 0) == PROTOCOL
    assert spoken(PROTOCOL + 5, 0) == PROTOCOL


def test_without_a_common_protocol_the_message_says_who_must_be_upgraded(monkeypatch):
    with pytest.raises(ProtocolError, match="upgrade the collector"):
        spoken(PROTOCOL + 5, PROTOCOL + 1)
    monkeypatch.setattr(versions, "OLDEST", 1)
    with pytest.raises(ProtocolError, match="upgrade the agent"):
        spoken(0, 0)
