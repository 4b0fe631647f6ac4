"""The wheel carries the compiled probes: clang runs here, not on the database host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProbesBuildHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        sys.path.insert(0, self.root)
        from agent.probes.build import build

        compiled = build()
        build_data["artifacts"].append(str(compiled.relative_to(Path(self.root))))
        # The probes read x86-64 registers, whatever the Python.
        build_data["tag"] = "py3-none-linux_x86_64"
