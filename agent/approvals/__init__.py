"""Approvals on the database host: who may ask, which grants live here, and what ends them."""
