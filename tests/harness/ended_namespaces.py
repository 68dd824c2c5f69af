"""The namespaces of tests that have ended.

To delete a namespace costs the control plane a quarter of a second of CPU, also an empty one: the controller lists and deletes
each kind that there is. Most tests leave nothing that would go on once their ManagedCharts are removed; their namespaces stay
until the cluster is deleted, and only those in which something still runs are deleted.
"""

from harness.cluster import MANAGEDCHARTS, Cluster

_AT_ONCE = 8
_RUNNING = (
    f"{MANAGEDCHARTS}/managedcharts",
    "/api/v1/pods",
    *(f"/apis/apps/v1/{name}" for name in ("deployments", "statefulsets", "daemonsets")),
    *(f"/apis/batch/v1/{name}" for name in ("jobs", "cronjobs")),
    "/apis/autoscaling/v2/horizontalpodautoscalers",
)
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class EndedNamespaces:
    """Collects namespaces, and deletes those of them in which something runs."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._names: list[str] = []

    def add(self, name: str) -> None:
        """Delete the ManagedCharts of a namespace without waiting, and itself later if something is left."""
        self._cluster.delete(f"{MANAGEDCHARTS}/namespaces/{name}/managedcharts")
        self._names.append(name)
        if len(self._names) > _AT_ONCE:
            self._delete_running()

    def _delete_running(self) -> None:
        *ended, last = self._names  # the removal of the last one has just begun
        self._names = [last]
        found = (item for path in _RUNNING for item in self._cluster.items(path, accept=_METADATA))
        running = {item["metadata"]["namespace"] for item in found}
        for name in ended:
            if name in running:
                self._cluster.delete(f"/api/v1/namespaces/{name}")
