"""What differs from what was accepted, who made it so, and how bad it is."""
