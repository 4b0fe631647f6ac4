"""Expectations that come with pgwarden, or from a file, held against what was observed."""

from collector.drift.profiles.checking import Outcome, Result, check
from collector.drift.profiles.reading import (
    Check,
    Profile,
    ProfileError,
    profile_names,
    read_profile,
)

__all__ = [
    "Check",
    "Outcome",
    "Profile",
    "ProfileError",
    "Result",
    "check",
    "profile_names",
    "read_profile",
]
