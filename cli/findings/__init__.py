"""``pgwarden findings``: what a person should know, and what people say of it."""

from cli.findings.group import app

__all__ = ["app"]
