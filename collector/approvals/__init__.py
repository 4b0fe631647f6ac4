"""Requests of refused statements at the collector: who may decide, what was decided."""
