"""Pure Polars: frames of statements and a state in, a new state and Findings out."""
