"""What the collector has not acknowledged yet, durable in one file: the spool."""
