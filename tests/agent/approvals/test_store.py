"""The file of grants: what is wrong with it is said, and refusals stay refusals."""

import pytest

from agent.approvals.service import Approving
from agent.approvals.store import ApprovalStore, ApprovalStoreError
from agent.clusters import Clusters
from collector.approvals.state import NAME, ApprovalState, ApprovalStateError
from config import AgentConfig
from model.session import Session
from protos.pgwarden.v1 import uplink_pb2 as pb


@pytest.fixture
def damaged(tmp_path):
    (tmp_path / NAME).write_bytes(b"no database at all " * 300)
    return tmp_path


def test_a_damaged_file_is_named(damaged):
    with pytest.raises(ApprovalStoreError, match=NAME):
        ApprovalStore(damaged / NAME)
    with pytest.raises(ApprovalStateError, match=NAME):
        ApprovalState(damaged)


def test_an_agent_with_a_damaged_file_approves_nothing_and_says_so(damaged):
    config = AgentConfig(name="h", state_dir=damaged)
    clusters = Clusters(config, None, lambda _: None, None, None)
    approving = Approving(config, clusters, lambda key: Session(key))
    assert approving.binding is None
    assert "nothing can be approved" in approving.problems()[0]
    result = approving.obey(pb.Command(kind="grants"))
    assert result.outcome == "refused"


def test_an_agent_whose_approvals_are_off_names_no_request(tmp_path):
    config = AgentConfig(name="h", state_dir=tmp_path, approvals={"enabled": False})
    clusters = Clusters(config, None, lambda _: None, None, None)
    approving = Approving(config, clusters, lambda key: Session(key))
    assert approving.binding is None
    assert approving.problems() == []
    assert not list(tmp_path.iterdir())
