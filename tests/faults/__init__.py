"""Faults on purpose. docs/faults.md says which, and by which test; ``./run test --faults`` runs the
long tier."""
