"""What the agent tells, as messages and columns of the protocol."""
