"""One YAML file, ``conf.d/`` beside it and ``PGWARDEN_...`` variables, checked before use."""

from config.loader import ConfigError, load
from config.schema import AgentConfig, CollectorConfig, Config

__all__ = ["AgentConfig", "CollectorConfig", "Config", "ConfigError", "load"]
