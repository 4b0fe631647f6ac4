"""Looks at the other end of a connection from outside: its process, its certificate.

All of it reads ``/proc``, the kernel or the server's catalog, and runs on a thread of its own.
"""

from agent.peers.explainer import Explainer, Question

__all__ = ["Explainer", "Question"]
