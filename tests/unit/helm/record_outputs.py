"""Records what the real helm says when things go wrong, into outputs/*.txt.

Not a test: `python tests/unit/helm/record_outputs.py [name…]` provokes each failure with the command lines that the
operator uses, on a devcluster of its own, and stores helm's stderr. Run it for a new helm version; the diff shows which
texts have changed, and test_errors.py what the error table makes of them.
"""

import base64
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "operator"))

from managedchart_operator.helm import command  # noqa: E402  (the path is set above)

OUTPUTS = Path(__file__).parent / "outputs"
CHARTS = ROOT / "tests" / "charts"
DEVCLUSTER = ROOT / "hack" / "devcluster" / "devcluster"
FAIL = "devcluster.managedchart.dev/fail"

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
        process = subprocess.Popen(
            [self.bin / "helm", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "KUBECONFIG": str(self.kubeconfig), **environment},
        )
        assert process.stdin
        process.stdin.write(json.dumps(values or {}).encode())
        process.stdin.close()
        process.stdin = None
        return process

    def upgrade(self, chart: Path, namespace: str, *extra: str, values: Any = None, **options: Any) -> tuple[int, str]:
        return self.helm(self.upgrade_arguments(chart, namespace, *extra, **options), values=values)

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


def configmap(name: str = "web", data: str = "{a: b}") -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata: {data}\n---\n"


def deployment(name: str = "web", *, fail: str = "", selector: str = "web", extra: str = "") -> str:
    annotations = f"annotations: {{{FAIL}: {fail}}}" if fail else ""
    return f"""apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  {extra}
  selector: {{matchLabels: {{app: {selector}}}}}
  template:
    metadata:
      labels: {{app: {selector}}}
      {annotations}
    spec:
      containers: [{{name: web, image: "registry.example/web:1.0"}}]
---
"""


def job(name: str = "job", *, fail: str = "", image: str = "registry.example/task:1.0", hook: str = "") -> str:
    metadata = f'annotations: {{"helm.sh/hook": {hook}}}' if hook else ""
    annotations = f"metadata: {{annotations: {{{FAIL}: {fail}}}}}" if fail else ""
    return f"""apiVersion: batch/v1
kind: Job
metadata:
  name: {name}
  {metadata}
spec:
  backoffLimit: 0
  template:
    {annotations}
    spec:
      restartPolicy: Never
      containers: [{{name: task, image: "{image}"}}]
---
"""


# -- repositories


@case
def repository_refused(r: Recorder):
    return r.pull("web", repository="http://127.0.0.1:1")


@case
def repository_dns(r: Recorder):
    return r.pull("web", repository="https://charts.no-such-host.invalid/stable")


def _status(r: Recorder, status: int, **headers: str):
    return r.pull("web", repository=r.server(lambda request: reply(request, status, **headers)))


@case
def repository_401(r: Recorder):
    return _status(r, 401, WWW_Authenticate="Basic realm=x")


@case
def repository_403(r: Recorder):
    return _status(r, 403)


@case
def repository_404(r: Recorder):
    return _status(r, 404)


@case
def repository_429(r: Recorder):
    return _status(r, 429)


@case
def repository_500(r: Recorder):
    return _status(r, 500)


@case
def repository_503(r: Recorder):
    return _status(r, 503)


@case
def repository_hangs_up(r: Recorder):
    return r.pull("web", repository=r.server(lambda request: request.connection.close()))


@case
def repository_tls_unknown(r: Recorder):
    return r.pull("web", repository=r.server(lambda request: reply(request, 200), tls=True))


@case
def repository_tls_other_name(r: Recorder):
    url = r.server(lambda request: reply(request, 200), tls=True).replace("127.0.0.1", "localhost")
    return r.pull("web", repository=url)


@case
def repository_no_tls(r: Recorder):
    return r.pull("web", repository=r.server(lambda request: reply(request, 200)).replace("http:", "https:"))


@case
def repository_no_index(r: Recorder):
    return r.pull("web", repository=r.server(lambda request: reply(request, 200, b"<html>please log in</html>")))


@case
def repository_empty_index(r: Recorder):
    return r.pull("web", repository=r.server(lambda request: reply(request, 200)))


@case
def repository_chart_missing(r: Recorder):
    return r.pull("nothing", repository=r.repository())


@case
def repository_version_missing(r: Recorder):
    return r.pull("web", repository=r.repository(), version="9.9.9")


@case
def repository_constraint_unsatisfied(r: Recorder):
    return r.pull("web", repository=r.repository(), version=">=2 <3")


@case
def repository_constraint_invalid(r: Recorder):
    return r.pull("web", repository=r.repository(), version="not a version")


@case
def repository_archive_gone(r: Recorder):
    return r.pull("gone", repository=r.repository())


# -- registries


@case
def registry_refused(r: Recorder):
    return r.pull("oci://127.0.0.1:1/charts/web", version="1.2.3", plain=True)


@case
def registry_dns(r: Recorder):
    return r.pull("oci://registry.no-such-host.invalid/charts/web", version="1.2.3")


def _registry(r: Recorder, status: int, code: str = "", *, version: str | None = "1.2.3", **headers: str):
    body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode() if code else b""
    url = r.server(lambda request: reply(request, status, body, Content_Type="application/json", **headers))
    return r.pull(url.replace("http:", "oci:") + "/charts/web", version=version, plain=True)


@case
def registry_401(r: Recorder):
    return _registry(r, 401, "UNAUTHORIZED", WWW_Authenticate="Basic realm=x")


@case
def registry_403(r: Recorder):
    return _registry(r, 403, "DENIED")


@case
def registry_403_without_body(r: Recorder):
    return _registry(r, 403)


@case
def registry_404_name(r: Recorder):
    return _registry(r, 404, "NAME_UNKNOWN")


@case
def registry_404_manifest(r: Recorder):
    return _registry(r, 404, "MANIFEST_UNKNOWN")


@case
def registry_404_tags(r: Recorder):
    return _registry(r, 404, "NAME_UNKNOWN", version=">=1")


@case
def registry_503(r: Recorder):
    return _registry(r, 503)


@case
def registry_429(r: Recorder):
    return _registry(r, 429, "TOOMANYREQUESTS")


@case
def registry_tls_unknown(r: Recorder):
    url = r.server(lambda request: reply(request, 200), tls=True)
    return r.pull(url.replace("https:", "oci:") + "/charts/web", version="1.2.3")


@case
def registry_no_tls(r: Recorder):
    url = r.server(lambda request: reply(request, 200))
    return r.pull(url.replace("http:", "oci:") + "/charts/web", version="1.2.3")


@case
def registry_constraint_unsatisfied(r: Recorder):
    body = json.dumps({"name": "charts/web", "tags": ["1.0.0", "1.1.0"]}).encode()
    url = r.server(lambda request: reply(request, 200, body, Content_Type="application/json"))
    return r.pull(url.replace("http:", "oci:") + "/charts/web", version=">=2", plain=True)


# -- charts


@case
def chart_path_missing(r: Recorder):
    return r.upgrade(r.folder / "nothing", "default")


@case
def chart_yaml_missing(r: Recorder):
    chart = r.chart("")
    (chart / "Chart.yaml").unlink()
    return r.upgrade(chart, "default")


@case
def chart_yaml_invalid(r: Recorder):
    return r.upgrade(r.chart("", metadata="maintainers: x\n"), "default")


@case
def chart_version_invalid(r: Recorder):
    chart = r.chart("")
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: first\n")
    return r.upgrade(chart, "default")


@case
def chart_values_invalid(r: Recorder):
    return r.upgrade(r.chart("", values__yaml="a: [\n"), "default")


@case
def chart_archive_damaged(r: Recorder):
    file = r.folder / "damaged.tgz"
    file.write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\0hello")
    return r.upgrade(file, "default")


@case
def chart_archive_no_gzip(r: Recorder):
    file = r.folder / "text.tgz"
    file.write_text("hello")
    return r.upgrade(file, "default")


@case
def chart_dependency_missing(r: Recorder):
    metadata = "dependencies: [{name: common, version: 1.x, repository: 'https://charts.example'}]\n"
    return r.upgrade(r.chart("", metadata=metadata), "default")


@case
def chart_library(r: Recorder):
    return r.upgrade(r.chart("", metadata="type: library\n"), "default")


@case
def chart_kube_version(r: Recorder):
    return r.upgrade(r.chart("", metadata="kubeVersion: '>=1.99'\n"), "default")


# -- values and templates


@case
def schema_refused(r: Recorder):
    values = {"replicas": "three", "port": 70000, "podAnnotations": {"a": 1}}
    return r.upgrade(CHARTS / "web", "default", values=values)


@case
def schema_refused_in_subchart(r: Recorder):
    chart = r.chart(configmap())
    shutil.copytree(CHARTS / "web", chart / "charts" / "sub")
    (chart / "charts" / "sub" / "Chart.yaml").write_text("apiVersion: v2\nname: sub\nversion: 1.0.0\n")
    return r.upgrade(chart, "default", values={"sub": {"replicas": -1}})


@case
def schema_required(r: Recorder):
    schema = json.dumps(
        {"type": "object", "required": ["host"], "additionalProperties": False, "properties": {"host": {}}}
    )
    return r.upgrade(r.chart(configmap(), values__schema__json=schema), "default", values={"hosst": 1})


@case
def schema_invalid(r: Recorder):
    return r.upgrade(r.chart(configmap(), values__schema__json="{"), "default")


@case
def values_invalid(r: Recorder):
    arguments = r.upgrade_arguments(CHARTS / "web", "default")
    process = subprocess.run(
        [r.bin / "helm", *arguments], input=b"a: [\n", capture_output=True, check=False,
        env={"HOME": str(r.folder), "KUBECONFIG": str(r.kubeconfig)},
    )  # fmt: skip
    return process.returncode, process.stderr.decode()


def _broken(r: Recorder, how: str):
    return r.upgrade(CHARTS / "broken-template", "default", values={"how": how})


@case
def template_required(r: Recorder):
    return _broken(r, "required")


@case
def template_nil(r: Recorder):
    return _broken(r, "nil")


@case
def template_fail(r: Recorder):
    return _broken(r, "fail")


@case
def template_yaml(r: Recorder):
    return _broken(r, "yaml")


@case
def template_nested(r: Recorder):
    templates = {
        "_helpers.tpl": '{{ define "web.name" }}\n{{ .Values.a.b.c }}{{ end }}',
        "a.yaml": 'a: {{ include "web.name" . }}',
    }
    return r.upgrade(r.chart(templates), "default")


@case
def template_syntax(r: Recorder):
    return r.upgrade(r.chart("a: {{ if }}\n"), "default")


@case
def template_no_function(r: Recorder):
    return r.upgrade(r.chart("a: {{ nothing .Values }}\n"), "default")


@case
def template_no_include(r: Recorder):
    return r.upgrade(r.chart('a: {{ include "nothing" . }}\n'), "default")


@case
def template_wrong_type(r: Recorder):
    return r.upgrade(r.chart("a: {{ index .Values.list 3 }}\n"), "default", values={"list": [1]})


@case
def manifest_without_kind(r: Recorder):
    return r.upgrade(r.chart("a: 1\n"), r.namespace())


@case
def manifest_without_name(r: Recorder):
    return r.upgrade(r.chart("apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n"), r.namespace())


# -- refused by the API server


@case
def owned_by_nobody(r: Recorder):
    ns = r.namespace()
    r.apply(configmap(), ns)
    return r.upgrade(r.chart(configmap()), ns)


@case
def owned_by_another_release(r: Recorder):
    ns = r.namespace()
    r.upgrade(r.chart(configmap()), ns, release="first")
    return r.upgrade(r.chart(configmap()), ns)


@case
def owned_by_nobody_cluster_wide(r: Recorder):
    role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: owned}\nrules: []\n"
    r.apply(role)
    return r.upgrade(r.chart(role), r.namespace())


@case
def field_conflict(r: Recorder):
    ns = r.namespace()
    r.kubectl("create", "configmap", "web", "--from-literal=a=x", "--from-literal=c=x", "-n", ns)
    return r.upgrade(r.chart(configmap(data="{a: b, c: d}")), ns, take_ownership=True)


@case
def field_conflict_with_kubectl_apply(r: Recorder):
    ns = r.namespace()
    chart = r.chart(deployment(extra="replicas: 1"))
    r.upgrade(chart, ns, wait=False)
    r.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=autoscaler", "-n", ns, "-f", "-",
              stdin="apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n")  # fmt: skip
    (chart / "templates" / "objects.yaml").write_text(deployment(extra="replicas: 2"))
    return r.upgrade(chart, ns)


@case
def unknown_field(r: Recorder):
    return r.upgrade(r.chart(deployment(extra="replicaz: 1")), r.namespace())


@case
def unknown_field_on_dry_run(r: Recorder):
    return r.upgrade(r.chart(deployment(extra="replicaz: 1")), r.namespace(), dry_run=True)


@case
def wrong_type(r: Recorder):
    return r.upgrade(r.chart(deployment(extra="replicas: many")), r.namespace())


@case
def object_invalid(r: Recorder):
    return r.upgrade(r.chart(deployment(extra="replicas: -1") + configmap("Web_1")), r.namespace())


@case
def selector_mismatch(r: Recorder):
    text = deployment().replace("labels: {app: web}", "labels: {app: other}", 1)
    return r.upgrade(r.chart(text), r.namespace())


@case
def namespace_missing(r: Recorder):
    return r.upgrade(r.chart(configmap()), "no-such-namespace")


@case
def namespace_missing_for_an_object(r: Recorder):
    text = configmap().replace("name: web", "name: web\n  namespace: elsewhere")
    return r.upgrade(r.chart(text), r.namespace())


def _terminating(r: Recorder) -> str:
    ns = r.namespace()
    r.apply(configmap("kept").replace("name: kept", "name: kept\n  finalizers: [test.managedchart.dev/kept]"), ns)
    r.kubectl("delete", "namespace", ns, "--wait=false")
    return ns


@case
def namespace_terminating(r: Recorder):
    return r.upgrade(r.chart(configmap()), _terminating(r))


@case
def namespace_of_an_object_terminating(r: Recorder):
    other = _terminating(r)
    text = configmap().replace("name: web", f"name: web\n  namespace: {other}")
    return r.upgrade(r.chart(text), r.namespace())


@case
def forbidden_storage(r: Recorder):
    ns = r.namespace()
    return r.upgrade(r.chart(configmap()), ns, *r.user(ns, "[]"))


SECRETS = '{apiGroups: [""], resources: [secrets], verbs: ["*"]}'


@case
def forbidden_object(r: Recorder):
    ns = r.namespace()
    as_user = r.user(ns, f'[{SECRETS}, {{apiGroups: [""], resources: [configmaps], verbs: [get]}}]')
    return r.upgrade(r.chart(configmap()), ns, *as_user)


@case
def forbidden_look(r: Recorder):
    ns = r.namespace()
    return r.upgrade(r.chart(configmap()), ns, *r.user(ns, f"[{SECRETS}]"))


@case
def forbidden_cluster_wide(r: Recorder):
    ns = r.namespace()
    role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: forbidden}\nrules: []\n"
    return r.upgrade(r.chart(role), ns, *r.user(ns, f"[{SECRETS}]"))


@case
def forbidden_namespace(r: Recorder):
    ns = r.namespace()
    as_user = r.user(ns, f"[{SECRETS}]", everywhere=True)
    return r.upgrade(r.chart(configmap()), "new-one", *as_user, create_namespace=True)


@case
def forbidden_crd(r: Recorder):
    ns = r.namespace()
    return r.upgrade(CHARTS / "cluster-objects", ns, *r.user(ns, f"[{SECRETS}]"))


@case
def crd_invalid(r: Recorder):
    chart = r.chart(configmap())
    (chart / "crds").mkdir()
    text = (CHARTS / "cluster-objects" / "crds" / "gadgets.yaml").read_text()
    (chart / "crds" / "a.yaml").write_text(text.replace("name: gadgets.test", "name: wrong.test"))
    return r.upgrade(chart, r.namespace())


@case
def forbidden_escalation(r: Recorder):
    ns = r.namespace()
    rules = '{apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: ["get", "create", "patch"]}'
    role = (
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: more}\n"
        'rules: [{apiGroups: [""], resources: [pods], verbs: [delete]}]\n'
    )
    return r.upgrade(r.chart(role), ns, *r.user(ns, f"[{SECRETS}, {rules}]"))


@case
def kind_missing(r: Recorder):
    return r.upgrade(CHARTS / "cluster-objects", r.namespace(), values={"unknownKind": True})


@case
def kind_missing_version(r: Recorder):
    return r.upgrade(r.chart(deployment().replace("apps/v1", "apps/v1beta1")), r.namespace())


def _changed(r: Recorder, before: str, after: str, **options: Any):
    ns, chart = r.namespace(), r.chart(before)
    r.upgrade(chart, ns, wait=False, **options)
    (chart / "templates" / "objects.yaml").write_text(after)
    return r.upgrade(chart, ns, **options)


@case
def immutable_selector(r: Recorder):
    return _changed(r, deployment(selector="a"), deployment(selector="b"))


@case
def immutable_job(r: Recorder):
    return _changed(r, job(), job(image="registry.example/task:2.0"))


@case
def immutable_configmap(r: Recorder):
    return _changed(
        r,
        configmap().replace("---", "immutable: true\n---"),
        configmap(data="{a: c}").replace("---", "immutable: true\n---"),
    )


STATEFUL_SET = """apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: NAME
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "registry.example/web:1.0"}]
"""
SERVICE = """apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: IP
  selector: {app: web}
  ports: [{port: 80}]
"""


@case
def immutable_stateful_set(r: Recorder):
    return _changed(r, STATEFUL_SET.replace("NAME", "a"), STATEFUL_SET.replace("NAME", "b"))


@case
def immutable_stateful_set_spec(r: Recorder):
    before = STATEFUL_SET.replace("NAME", "a")
    return _changed(r, before, before.replace("serviceName", "podManagementPolicy: Parallel\n  serviceName"))


@case
def port_taken(r: Recorder):
    ns = r.namespace()
    service = SERVICE.replace("clusterIP: IP", "type: NodePort").replace("port: 80", "port: 80, nodePort: 30123")
    r.apply(service.replace("name: web", "name: first"), ns)
    return r.upgrade(r.chart(service), ns)


@case
def object_being_deleted(r: Recorder):
    ns = r.namespace()
    text = configmap().replace("name: web", "name: web\n  finalizers: [test.managedchart.dev/kept]")
    r.upgrade(r.chart(text), ns)
    r.kubectl("delete", "configmap", "web", "-n", ns, "--wait=false")
    return r.upgrade(r.chart(configmap(data="{a: c}")), ns)


@case
def immutable_cluster_ip(r: Recorder):
    return _changed(
        r,
        SERVICE.replace("IP: IP", "IP: None"),
        SERVICE.replace("clusterIP: IP", "type: ClusterIP\n  clusterIP: 10.0.0.77"),
    )


@case
def immutable_client_side(r: Recorder):
    return _changed(r, STATEFUL_SET.replace("NAME", "a"), STATEFUL_SET.replace("NAME", "b"), force_replace=True)


@case
def quota_exceeded(r: Recorder):
    ns = r.namespace()
    r.apply("apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: few}\nspec: {hard: {configmaps: '2'}}\n", ns)
    r.kubectl("wait", "-n", ns, "resourcequota/few", "--for=jsonpath={.status.hard.configmaps}=2")
    return r.upgrade(r.chart(configmap("one") + configmap("two")), ns)


POD = """apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers: [{name: web, image: "web:1", resources: {requests: {cpu: "4"}, limits: {cpu: "4"}}}]
"""


@case
def limit_range(r: Recorder):
    ns = r.namespace()
    r.apply(
        "apiVersion: v1\nkind: LimitRange\nmetadata: {name: small}\nspec: {limits: [{type: Container, max: {cpu: '1'}}]}\n",
        ns,
    )
    return r.upgrade(r.chart(POD), ns)


@case
def pod_security(r: Recorder):
    ns = r.namespace()
    r.kubectl("label", "namespace", ns, "pod-security.kubernetes.io/enforce=restricted")
    return r.upgrade(r.chart(POD), ns)


@case
def policy_denied(r: Recorder):
    ns = r.namespace()
    r.apply(
        f"""apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {ns}}}
spec:
  matchConstraints:
    resourceRules: [{{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}}]
  validations: [{{expression: "has(object.metadata.labels.team)", message: "objects need a label team"}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {ns}}}
spec:
  policyName: {ns}
  validationActions: [Deny]
  matchResources: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {ns}}}}}}}
"""
    )
    chart = r.chart(configmap())
    for _ in range(50):
        # The API server learns of a policy a moment later.
        code, text = r.upgrade(chart, ns)
        if code:
            break
        r.helm(["uninstall", "web", f"--namespace={ns}"])
    return code, text


def _webhook(r: Recorder, client: str, *, kind: str = "Validating", timeout: int = 1) -> str:
    ns = r.namespace()
    r.apply(
        f"""apiVersion: admissionregistration.k8s.io/v1
kind: {kind}WebhookConfiguration
metadata: {{name: {ns}}}
webhooks:
- name: policy.test.managedchart.dev
  admissionReviewVersions: [v1]
  sideEffects: None
  timeoutSeconds: {timeout}
  clientConfig: {client}
  rules: [{{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}}]
  namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {ns}}}}}
"""
    )
    time.sleep(2)
    return ns


def _at(r: Recorder, url: str) -> str:
    authority = base64.b64encode(r.certificate()[0].read_bytes()).decode()
    return f"{{url: '{url}/validate', caBundle: {authority}}}"


def _review(request: BaseHTTPRequestHandler, response: dict[str, Any]) -> None:
    review = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
    review["response"] = {"uid": review["request"]["uid"], **response}
    reply(request, 200, json.dumps(review).encode(), Content_Type="application/json")


@case
def webhook_denied(r: Recorder):
    denied = {"allowed": False, "status": {"code": 403, "message": "images must come from registry.internal"}}
    url = r.server(lambda request: _review(request, denied), tls=True)
    return r.upgrade(r.chart(configmap()), _webhook(r, _at(r, url)))


@case
def webhook_denied_without_reason(r: Recorder):
    url = r.server(lambda request: _review(request, {"allowed": False}), tls=True)
    return r.upgrade(r.chart(configmap()), _webhook(r, _at(r, url)))


@case
def webhook_refused(r: Recorder):
    return r.upgrade(r.chart(configmap()), _webhook(r, _at(r, "https://127.0.0.1:1"), kind="Mutating"))


@case
def webhook_timeout(r: Recorder):
    url = r.server(lambda _: time.sleep(5), tls=True)
    return r.upgrade(r.chart(configmap()), _webhook(r, _at(r, url)))


@case
def webhook_untrusted(r: Recorder):
    url = r.server(lambda request: _review(request, {"allowed": True}), tls=True)
    return r.upgrade(r.chart(configmap()), _webhook(r, f"{{url: '{url}/validate'}}"))


@case
def webhook_error(r: Recorder):
    url = r.server(lambda request: reply(request, 500, b"boom"), tls=True)
    return r.upgrade(r.chart(configmap()), _webhook(r, _at(r, url)))


@case
def webhook_service_missing(r: Recorder):
    return r.upgrade(
        r.chart(configmap()), _webhook(r, "{service: {name: policy, namespace: default, path: /validate}}")
    )


@case
def release_too_large(r: Recorder):
    return r.upgrade(r.chart(configmap(), blob=base64.b64encode(os.urandom(1_400_000))), r.namespace())


@case
def release_far_too_large(r: Recorder):
    return r.upgrade(r.chart(configmap(), blob=base64.b64encode(os.urandom(5_000_000))), r.namespace())


@case
def object_too_large(r: Recorder):
    return r.upgrade(r.chart(configmap(data='{a: "{{ repeat 2000000 "x" }}"}')), r.namespace())


# -- waiting


@case
def wait_timeout(r: Recorder):
    text = deployment("web", fail="unready") + deployment("worker", fail="image", selector="worker")
    return r.upgrade(r.chart(text), r.namespace(), timeout="3s")


@case
def wait_timeout_on_upgrade(r: Recorder):
    return _changed(r, deployment(), deployment(fail="unready"), timeout="3s")


@case
def wait_timeout_of_other_kinds(r: Recorder):
    claim = (
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec:\n  accessModes: [ReadWriteOnce]\n"
        "  storageClassName: nothing\n  resources: {requests: {storage: 1Gi}}\n---\n"
    )
    return r.upgrade(
        r.chart(
            claim
            + STATEFUL_SET.replace("NAME", "web").replace(
                "labels: {app: web}}", f"labels: {{app: web}}, annotations: {{{FAIL}: unready}}}}", 1
            )
        ),
        r.namespace(),
        timeout="3s",
    )


@case
def progress_deadline(r: Recorder):
    return r.upgrade(
        r.chart(deployment(fail="unready", extra="progressDeadlineSeconds: 2")), r.namespace(), timeout="20s"
    )


@case
def hook_failed(r: Recorder):
    return r.upgrade(
        CHARTS / "hooks", r.namespace(), values={"pre": {"podAnnotations": {FAIL: "job-fail"}}}, timeout="20s"
    )


@case
def hook_failed_after(r: Recorder):
    return r.upgrade(
        CHARTS / "hooks", r.namespace(), values={"post": {"podAnnotations": {FAIL: "job-fail"}}}, timeout="20s"
    )


@case
def hook_failed_on_upgrade(r: Recorder):
    ns = r.namespace()
    r.upgrade(CHARTS / "hooks", ns)
    return r.upgrade(CHARTS / "hooks", ns, values={"pre": {"podAnnotations": {FAIL: "job-fail"}}}, timeout="20s")


@case
def hook_timeout(r: Recorder):
    return r.upgrade(CHARTS / "hooks", r.namespace(), values={"pre": {"podAnnotations": {FAIL: "image"}}}, timeout="2s")


@case
def hook_refused(r: Recorder):
    text = configmap().replace(
        "name: web", 'name: web\n  namespace: elsewhere\n  annotations: {"helm.sh/hook": pre-install}'
    )
    return r.upgrade(r.chart(text), r.namespace())


# -- the release


def _held(r: Recorder, ns: str, *, stop: signal.Signals) -> tuple[int, str]:
    chart = r.chart(deployment(fail="unready"))
    process = r.start(r.upgrade_arguments(chart, ns, timeout="60s"))
    for _ in range(200):
        if r.kubectl("get", "deployment", "web", "-n", ns, "--ignore-not-found"):
            break
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(stop)
    _, stderr = process.communicate()
    return process.returncode, stderr.decode()


@case
def another_operation(r: Recorder):
    ns = r.namespace()
    _held(r, ns, stop=signal.SIGKILL)
    return r.upgrade(r.chart(configmap()), ns)


@case
def stopped_by_sigterm(r: Recorder):
    return _held(r, r.namespace(), stop=signal.SIGTERM)


@case
def killed_by_sigkill(r: Recorder):
    return _held(r, r.namespace(), stop=signal.SIGKILL)


@case
def uninstall_not_found(r: Recorder):
    arguments = command.uninstall(release="nothing", namespace="default", timeout="3s", foreground=True)
    return r.helm([argument for argument in arguments if argument != "--ignore-not-found"])


@case
def uninstall_blocked(r: Recorder):
    ns = r.namespace()
    text = configmap("kept").replace("name: kept", "name: kept\n  finalizers: [test.managedchart.dev/kept]")
    r.upgrade(r.chart(text), ns)
    return r.helm(command.uninstall(release="web", namespace=ns, timeout="2s", foreground=True))


@case
def uninstall_forbidden(r: Recorder):
    ns = r.namespace()
    r.upgrade(r.chart(configmap()), ns)
    as_user = r.user(ns, f'[{SECRETS}, {{apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}}]')
    return r.helm([*command.uninstall(release="web", namespace=ns, timeout="2s", foreground=True), *as_user])


@case
def uninstall_hook_failed(r: Recorder):
    ns = r.namespace()
    r.upgrade(r.chart(job("bye", fail="job-fail", hook="pre-delete")), ns)
    return r.helm(command.uninstall(release="web", namespace=ns, timeout="10s", foreground=True))


@case
def uninstall_hook_timeout(r: Recorder):
    ns = r.namespace()
    r.upgrade(r.chart(job("bye", fail="image", hook="pre-delete")), ns)
    return r.helm(command.uninstall(release="web", namespace=ns, timeout="2s", foreground=True))


@case
def rollback_no_revision(r: Recorder):
    ns = r.namespace()
    r.upgrade(r.chart(configmap()), ns)
    options = command.ReleaseOptions(release="web", namespace=ns, timeout="3s")
    return r.helm(command.rollback(options, revision=7, description="x"))


@case
def rollback_not_found(r: Recorder):
    options = command.ReleaseOptions(release="nothing", namespace="default", timeout="3s")
    return r.helm(command.rollback(options, revision=1, description="x"))


@case
def no_deployed_release(r: Recorder):
    ns, chart = r.namespace(), r.chart(configmap())
    r.upgrade(chart, ns)
    r.helm([*command.uninstall(release="web", namespace=ns, timeout="3s", foreground=True), "--keep-history"])
    return r.helm([argument for argument in r.upgrade_arguments(chart, ns) if argument != "--install"])


@case
def name_in_use_by_history(r: Recorder):
    ns, chart = r.namespace(), r.chart(configmap())
    r.upgrade(chart, ns)
    return r.helm(["install", "web", str(chart), f"--namespace={ns}"])


# -- the API server


def _elsewhere(r: Recorder, server: str) -> Path:
    config = json.loads(r.kubectl("config", "view", "--raw", "-o", "json"))
    config["clusters"][0]["cluster"]["server"] = server
    file = r.folder / "elsewhere"
    file.write_text(json.dumps(config))
    return file


@case
def api_refused(r: Recorder):
    return r.helm(
        r.upgrade_arguments(r.chart(configmap()), "default"), KUBECONFIG=str(_elsewhere(r, "https://127.0.0.1:1"))
    )


@case
def api_dns(r: Recorder):
    file = _elsewhere(r, "https://kubernetes.no-such-host.invalid")
    return r.helm(r.upgrade_arguments(r.chart(configmap()), "default"), KUBECONFIG=str(file))


@case
def api_untrusted(r: Recorder):
    config = json.loads(
        _elsewhere(r, r.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")).read_text()
    )
    config["clusters"][0]["cluster"].pop("insecure-skip-tls-verify", None)
    config["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(
        r.certificate()[0].read_bytes()
    ).decode()
    file = r.folder / "untrusted"
    file.write_text(json.dumps(config))
    return r.helm(r.upgrade_arguments(r.chart(configmap()), "default"), KUBECONFIG=str(file))


@case
def api_unauthorized(r: Recorder):
    config = json.loads(r.kubectl("config", "view", "--raw", "-o", "json"))
    config["users"][0]["user"] = {"token": "wrong"}
    file = r.folder / "unauthorized"
    file.write_text(json.dumps(config))
    return r.helm(r.upgrade_arguments(r.chart(configmap()), "default"), KUBECONFIG=str(file))


def _broken_api(r: Recorder, status: int, body: dict[str, Any] | None = None):
    answer = json.dumps(body or {}).encode()
    url = r.server(lambda request: reply(request, status, answer, Content_Type="application/json"))
    return r.helm(r.upgrade_arguments(r.chart(configmap()), "default"), KUBECONFIG=str(_elsewhere(r, url)))


@case
def api_503(r: Recorder):
    return _broken_api(r, 503)


@case
def api_etcd(r: Recorder):
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": "etcdserver: request timed out",
        "code": 500,
    }
    return _broken_api(r, 500, status)


@case
def api_dies_while_waiting(r: Recorder):
    """Last, because the cluster is not usable for a moment."""
    ns = r.namespace()
    process = r.start(r.upgrade_arguments(r.chart(deployment(fail="unready")), ns, timeout="8s"))
    time.sleep(2)
    subprocess.run([DEVCLUSTER, "restart-apiserver", "--name", "record-outputs"], check=True, stdout=sys.stderr)
    _, stderr = process.communicate()
    return process.returncode, stderr.decode()


def neutral(text: str, folder: Path) -> str:
    """Without the folders, ports, times and sizes of this machine and hour."""
    text = re.sub(re.escape(str(folder)) + r"/chart[0-9]+", "/charts", text)
    text = text.replace(str(folder), "/tmp").replace(str(CHARTS), "/charts")
    text = re.sub(r"(?<=127\.0\.0\.1:)[0-9]{4,5}", "6443", text)
    text = re.sub(r"(?<=localhost:)[0-9]{4,5}", "6443", text)
    text = re.sub(r"127\.0\.0\.1:[0-9]+->", "127.0.0.1:40000->", text)
    text = re.sub(r"lookup (\S+) on \S+:", r"lookup \1 on 10.0.0.10:53:", text)
    return re.sub(r"time=\S+ ", "", text)


def main(names: list[str]) -> None:
    OUTPUTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="record-") as folder, Recorder(Path(folder)) as recorder:
        for name, run in CASES.items():
            if names and name not in names:
                continue
            started = time.monotonic()
            try:
                code, text = run(recorder)
            except RuntimeError as error:
                print(f"{name}: COULD NOT BE PROVOKED: {error}")
                continue
            print(f"{name}: exit {code}, {time.monotonic() - started:.1f} s")
            if code == 0:
                print(f"{name}: helm SUCCEEDED")
                continue
            (OUTPUTS / f"{name}.txt").write_text(f"# exit {code}\n{neutral(text, Path(folder))}")


if __name__ == "__main__":
    main(sys.argv[1:])
