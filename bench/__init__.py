"""What measures, side by side with its peer."""
