"""Replicas on the nodes of a Ray cluster: on each the sandboxed worker of one machine, spoken to from here."""

from runner.models.cluster.backend import ClusterReplicas, open_cluster
from runner.models.cluster.session import check_ray

__all__ = ["ClusterReplicas", "check_ray", "open_cluster"]
