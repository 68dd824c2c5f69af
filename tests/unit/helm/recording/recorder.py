"""What the cases provoke failures with: a cluster, servers that misbehave, and helm; and the list of the cases."""

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from managedchart_operator.helm import command
from managedchart_operator.helm.memory_files import FileArgument, memory_files

ROOT = Path(__file__).resolve().parents[4]
CHARTS = ROOT / "tests" / "charts"
DEVCLUSTER = ROOT / "hack" / "devcluster" / "devcluster"

Case = Callable[["Recorder"], "tuple[int, str]"]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Register a case; its name is the file's, `-` for `_`."""
    CASES[function.__name__.replace("_", "-")] = function
    return function


class Recorder:
    """A cluster, servers that misbehave, and helm."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = Path(subprocess.check_output([DEVCLUSTER, "bin"], text=True).strip())
        self.kubeconfig = folder / "kubeconfig"
        self.namespaces = 0
        self.chart_count = 0

    def __enter__(self) -> Self:
        arguments = [DEVCLUSTER, "create", "cluster", "--name", "record-outputs", "--kubeconfig", self.kubeconfig]
        subprocess.run(arguments, check=True, stdout=sys.stderr)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run([DEVCLUSTER, "delete", "cluster", "--name", "record-outputs"], check=True, stdout=sys.stderr)

    # -- helm

    def helm(self, arguments: list[str], *, values: Any = None, **environment: str) -> tuple[int, str]:
        process = self.start(arguments, values=values, **environment)
        _, stderr = process.communicate()
        return process.returncode, stderr.decode()

    def start(self, arguments: list[str], *, values: Any = None, **environment: str) -> "subprocess.Popen[bytes]":
        given = [FileArgument("--values", json.dumps(values).encode(), "spec.values")] if values else []
        with memory_files([str(self.bin / "helm"), *arguments, *given]) as files:
            return subprocess.Popen(
                files.arguments,
                pass_fds=tuple(files.origins),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={
                    "PATH": "/usr/bin:/bin",
                    "HOME": str(self.folder),
                    "KUBECONFIG": str(self.kubeconfig),
                    **environment,
                },
            )

    def upgrade(self, chart: Path, namespace: str, *extra: str, values: Any = None, **options: Any) -> tuple[int, str]:
        return self.helm(self.upgrade_arguments(chart, namespace, *extra, **options), values=values)

    def changed(self, before: str, after: str, **options: Any):
        ns, chart = self.namespace(), self.chart(before)
        self.upgrade(chart, ns, wait=False, **options)
        (chart / "templates" / "objects.yaml").write_text(after)
        return self.upgrade(chart, ns, **options)

    def upgrade_arguments(self, chart: Path, namespace: str, *extra: str, **options: Any) -> list[str]:
        options = {"release": "web", "timeout": "5s", "create_namespace": False, **options}
        return [*command.upgrade(command.UpgradeOptions(namespace=namespace, **options), chart=chart), *extra]

    def pull(self, reference: str, *, repository: str | None = None, version: str | None = None, plain: bool = False):
        destination = self.folder / "pulled"
        destination.mkdir(exist_ok=True)
        return self.helm(
            command.pull(reference, destination=destination, repository=repository, version=version, plain_http=plain)
        )

    # -- the cluster

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        done = subprocess.run(
            [self.bin / "kubectl", "--kubeconfig", self.kubeconfig, *arguments],
            input=stdin, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout

    def apply(self, manifest: str, namespace: str = "default") -> None:
        self.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest)

    def namespace(self) -> str:
        self.namespaces += 1
        name = f"ns{self.namespaces}"
        self.kubectl("create", "namespace", name)

        return name

    def user(self, namespace: str, rules: str, *, everywhere: bool = False) -> list[str]:
        """Make a service account with these rules in its namespace; return helm's arguments that act as it."""
        scope = "Cluster" if everywhere else ""
        self.apply(
            f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: {scope}Role
metadata: {{name: {namespace}}}
rules: {rules}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {scope}RoleBinding
metadata: {{name: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {scope}Role, name: {namespace}}}
subjects: [{{kind: ServiceAccount, name: u, namespace: {namespace}}}]
""",
            namespace,
        )
        return [f"--kube-as-user=system:serviceaccount:{namespace}:u", "--kube-as-group=system:authenticated"]

    # -- charts

    def chart(self, templates: str | dict[str, str], *, metadata: str = "", **files: str | bytes) -> Path:
        self.chart_count += 1
        folder = self.folder / f"chart{self.chart_count}" / "web"
        (folder / "templates").mkdir(parents=True)
        (folder / "Chart.yaml").write_text(f"apiVersion: v2\nname: web\nversion: 1.0.0\n{metadata}")
        for name, text in (templates if isinstance(templates, dict) else {"objects.yaml": templates}).items():
            (folder / "templates" / name).write_text(text)
        for name, data in files.items():
            (folder / name.replace("__", ".")).write_bytes(data if isinstance(data, bytes) else data.encode())
        return folder

    # -- servers

    def server(self, answer: Callable[[BaseHTTPRequestHandler], None], *, tls: bool = False) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            do_HEAD = do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate())
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"

    def certificate(self) -> tuple[Path, Path]:
        certificate, key = self.folder / "tls.crt", self.folder / "tls.key"
        if not key.exists():
            arguments = [
                "-subj",
                "/CN=test",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-out",
                certificate,
                "-keyout",
                key,
            ]
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *arguments],
                check=True, capture_output=True,
            )  # fmt: skip
        return certificate, key

    def repository(self) -> str:
        """A chart repository with web 1.2.3, and an archive that its index names but that is not there."""
        folder = self.folder / "repository"
        if not folder.exists():
            folder.mkdir()
            subprocess.run(
                [self.bin / "helm", "package", CHARTS / "web", "-d", folder], check=True, capture_output=True
            )
            subprocess.run([self.bin / "helm", "repo", "index", folder], check=True, capture_output=True)
            index = folder / "index.yaml"
            index.write_text(index.read_text().replace("entries:\n", "entries:\n" + GONE))

        def answer(request: BaseHTTPRequestHandler) -> None:
            file = folder / request.path.lstrip("/")
            reply(request, 200, file.read_bytes()) if file.is_file() else reply(request, 404)

        return self.server(answer)


GONE = """  gone:
  - apiVersion: v2
    name: gone
    version: 1.0.0
    created: "2026-01-01T00:00:00Z"
    urls: [gone-1.0.0.tgz]
"""


def reply(request: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
