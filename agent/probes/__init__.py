"""eBPF probes on PostgreSQL: the kernel program, what it needs to know of a server binary, and two
loaders. x86-64 only."""
