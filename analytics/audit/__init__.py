"""What pgaudit is expected to log, and how far the two sources of statements agree."""
