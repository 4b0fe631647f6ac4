"""The same throw-away clusters that the demo runs on, made from templates."""

from cli.demo import cluster
from cli.demo.cluster import free_port, server_folder
from tests.live.templates import make_or_copy

__all__ = ["PostgresCluster", "free_port", "server_folder"]


class PostgresCluster(cluster.PostgresCluster):
    def _server_tool(self, tool: str, *args: str) -> None:
        run = super()._server_tool
        if tool == "initdb" and self.programs is None:
            make_or_copy(self.binary, args, lambda: run(tool, *args))
        else:
            run(tool, *args)
