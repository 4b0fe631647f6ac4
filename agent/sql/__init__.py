"""From a statement's text to its Shape: parsed, classified and redacted in a sandboxed process."""
