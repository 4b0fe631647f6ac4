"""What is committed under protos/ is what the compiler makes of the .proto files."""

from protos.generate import stale_files


def test_the_generated_code_is_current():
    assert stale_files() == []
