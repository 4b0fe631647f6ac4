"""Where facts come from: eBPF probes and pgaudit's log. Bytes in, ``model.event`` out."""
