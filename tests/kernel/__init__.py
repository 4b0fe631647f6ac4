"""Real probes on a real PostgreSQL: needs root and eBPF."""
