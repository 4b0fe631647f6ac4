"""Who may call the collector, by socket, certificate or token; and the record of who did."""
