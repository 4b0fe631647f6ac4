"""One detector a file; all of them pass the same contract (tests/analytics/test_contract.py)."""
