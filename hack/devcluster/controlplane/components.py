"""Makes the command lines and configuration files of the components; nothing is started here.

Everything listens on 127.0.0.1. The API server makes its own certificate; the same key and certificate serve the
other components and sign ServiceAccount tokens, so that neither openssl nor any other tool is needed.
No admission plug-in is switched off: quotas, limits, webhooks and ServiceAccounts are as real as on any cluster.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from . import folders, stages
from .errors import ClusterStateError

ADMIN = "kubernetes-admin"

ENVIRONMENT = {"GOGC": "400", "GOMEMLIMIT": "2GiB"}
"""Garbage is collected when the heap has grown fivefold, not when it has doubled: an eighth less CPU, 130 MB more memory."""


@dataclass(frozen=True)
class Ports:
    """Where the components of one cluster listen, all on 127.0.0.1."""

    etcd: int
    etcd_peer: int
    apiserver: int
    controller_manager: int
    scheduler: int
    kwok: int


@dataclass(frozen=True)
class Layout:
    """One cluster's folder, ports and admin token, and the paths that follow from them."""

    name: str
    folder: Path
    programs: Path
    ports: Ports
    token: str
    audit_log: str = ""
    """Where the API server logs its requests; nowhere when empty."""

    @property
    def certificate(self) -> Path:
        """The API server's own certificate, which is also the certificate authority to trust."""
        return self.folder / "pki" / "apiserver.crt"

    @property
    def key(self) -> Path:
        """The private key of `certificate`."""
        return self.folder / "pki" / "apiserver.key"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; the components use it, too."""
        return self.folder / "kubeconfig"

    @property
    def node(self) -> str:
        """The node's name, as kind calls it."""
        return f"{self.name}-control-plane"

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs; `folder` is where the cluster's folder is being prepared."""
        content = {
            "programs": str(self.programs),
            "ports": asdict(self.ports),
            "token": self.token,
            "audit_log": self.audit_log,
        }
        file = folder / "cluster.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(content))

    @classmethod
    def load(cls, name: str) -> "Layout":
        """Read an existing cluster's layout; raises ClusterStateError when this version cannot have written it."""
        folder = folders.cluster(name)
        try:
            content = json.loads((folder / "cluster.json").read_text())
            programs, ports = Path(content["programs"]), Ports(**content["ports"])
            return cls(name, folder, programs, ports, content["token"], content.get("audit_log", ""))
        except (FileNotFoundError, ValueError, LookupError, TypeError) as error:
            # Or its creation was killed before it had written anything.
            raise ClusterStateError(
                f'The cluster "{name}" was created by another version of devcluster: "devcluster delete cluster --name '
                f'{name}" removes it; then create it again.'
            ) from error


def commands(layout: Layout) -> dict[str, list[str]]:
    """The command line of each component, in the order in which they are started."""
    builders = {
        "etcd": _etcd,
        "kube-apiserver": _apiserver,
        "kube-controller-manager": _controller_manager,
        "kube-scheduler": _scheduler,
        "kwok": _kwok,
    }
    return {name: [str(layout.programs / name), *build(layout)] for name, build in builders.items()}


def write_configuration(layout: Layout) -> None:
    """Write the files that the command lines refer to, except those that the API server makes itself."""
    (layout.folder / "pki").mkdir(mode=0o700)
    tokens = layout.folder / "tokens.csv"
    tokens.touch(mode=0o600)
    tokens.write_text(f'{layout.token},{ADMIN},{ADMIN},"system:masters"\n')
    (layout.folder / "audit-policy.json").write_text(json.dumps(_AUDIT_POLICY))
    (layout.folder / "scheduler.json").write_text(json.dumps(_scheduler_configuration(layout)))
    (layout.folder / "kwok.yaml").write_text(stages.configuration())


_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


def _etcd(layout: Layout) -> list[str]:
    client, peer = (f"http://127.0.0.1:{port}" for port in (layout.ports.etcd, layout.ports.etcd_peer))
    return [
        f"--data-dir={layout.folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        # The cluster is thrown away; waiting for the disk would cost more time than everything else.
        "--unsafe-no-fsync",
        "--quota-backend-bytes=8589934592",
        "--log-level=warn",
    ]


def _apiserver(layout: Layout) -> list[str]:
    arguments = [
        f"--etcd-servers=http://127.0.0.1:{layout.ports.etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={layout.ports.apiserver}",
        # Without an address it looks for a network interface, which a sandbox may not have; and a loopback address
        # cannot stand in an EndpointSlice, so the `kubernetes` Service stays without endpoints.
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--cert-dir={layout.certificate.parent}",
        f"--token-auth-file={layout.folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={layout.key}",
        f"--service-account-signing-key-file={layout.key}",
        # The default is a /24, which a benchmark with some hundred Services would exhaust.
        "--service-cluster-ip-range=10.96.0.0/16",
        "--kubelet-preferred-address-types=InternalIP",
        # CNI and storage charts ask for privileged containers.
        "--allow-privileged=true",
        "--profiling=false",
    ]
    if layout.audit_log:
        arguments += [
            f"--audit-log-path={layout.audit_log}",
            f"--audit-policy-file={layout.folder / 'audit-policy.json'}",
        ]
    return arguments


def _controller_manager(layout: Layout) -> list[str]:
    return [
        f"--kubeconfig={layout.kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={layout.ports.controller_manager}",
        f"--tls-cert-file={layout.certificate}",
        f"--tls-private-key-file={layout.key}",
        f"--root-ca-file={layout.certificate}",
        f"--service-account-private-key-file={layout.key}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        # The defaults (20 requests/s, 5 to 20 workers) protect large clusters; here they would be most of the waiting.
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
        "--concurrent-deployment-syncs=20",
        "--concurrent-replicaset-syncs=20",
        "--concurrent-namespace-syncs=20",
        "--concurrent-gc-syncs=40",
        # Each 15 s by default: a test of an autoscaler would mostly wait.
        "--horizontal-pod-autoscaler-sync-period=2s",
        # A laptop that slept must not find its node NotReady and all pods evicted.
        "--node-monitor-grace-period=1h",
        "--profiling=false",
    ]


def _scheduler(layout: Layout) -> list[str]:
    return [
        f"--config={layout.folder / 'scheduler.json'}",
        "--bind-address=127.0.0.1",
        f"--secure-port={layout.ports.scheduler}",
        f"--tls-cert-file={layout.certificate}",
        f"--tls-private-key-file={layout.key}",
    ]


def _scheduler_configuration(layout: Layout) -> dict[str, object]:
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(layout.kubeconfig), "qps": 1000, "burst": 2000},
        "leaderElection": {"leaderElect": False},
        "enableProfiling": False,
    }


def _kwok(layout: Layout) -> list[str]:
    return [
        f"--config={layout.folder / 'kwok.yaml'}",
        f"--kubeconfig={layout.kubeconfig}",
        "--manage-all-nodes=true",
        # The API server asks the node for container logs at this address.
        "--node-ip=127.0.0.1",
        f"--node-port={layout.ports.kwok}",
        f"--server-address=127.0.0.1:{layout.ports.kwok}",
        f"--tls-cert-file={layout.certificate}",
        f"--tls-private-key-file={layout.key}",
    ]
