"""The same throw-away clusters that the demo runs on."""

from cli.demo.cluster import PostgresCluster, free_port, server_folder

__all__ = ["PostgresCluster", "free_port", "server_folder"]
