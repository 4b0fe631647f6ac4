"""The version of this release, read by the build."""

__version__ = "0.1.0"
