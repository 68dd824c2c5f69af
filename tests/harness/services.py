"""A server of this machine behind a Service of the cluster, as if a pod had its address."""

import json
import socket
from typing import Any

from harness.cluster import Cluster
from harness.egress import Server


def own_address() -> str:
    """Return an address of this machine that the API server may call: not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return str(probe.getsockname()[0])


def serve(
    cluster: Cluster, namespace: str, server: Server, address: str, *, name: str = "app", number: int = 80
) -> None:
    """Make a Service with one port, of a server at this address."""
    port = {"name": "http", "port": server.port, "protocol": "TCP"}
    objects: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"ports": [{**port, "port": number}]},
        },
        # The API server calls only addresses that are those of pods; this one is never scheduled.
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"schedulerName": "none", "containers": [{"name": "app", "image": "app"}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "targetRef": {"kind": "Pod", "namespace": namespace, "name": name}}],
            "ports": [port],
        },
    ]
    cluster.apply(*objects, namespace=namespace)
    status = json.dumps({"status": {"podIP": address, "podIPs": [{"ip": address}]}})
    cluster.kubectl(
        "patch", "pod", name, f"--namespace={namespace}", "--subresource=status", "--type=merge", f"--patch={status}"
    )
