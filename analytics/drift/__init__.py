"""What follows from the facts of a catalog."""
