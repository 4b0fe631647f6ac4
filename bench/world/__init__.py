"""The labelled world: a made-up company's statements, with campaigns whose truth is known.

See docs/world.md.
"""

from bench.world.labels import Campaign, Distractor
from bench.world.stream import SCHEMA
from bench.world.world import Identity, World

__all__ = ["SCHEMA", "Campaign", "Distractor", "Identity", "World"]
