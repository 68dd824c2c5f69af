"""The other side of a chart reference, for tests: a real chart repository and a real OCI registry on 127.0.0.1.

Nothing is mocked: charts are packaged, indexed and pushed by helm itself, the repository speaks HTTP(S) and asks for
passwords, the registry is go-containerregistry's. Both are context managers on free ports and leave nothing behind.
Not here: anything about Kubernetes.
"""

import base64
import hmac
import http.server
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Self

_DEVCLUSTER = Path(__file__).resolve().parent.parent / "hack" / "devcluster" / "devcluster"

_COMMAND_SECONDS = 60.0
"""Packaging, indexing and pushing take tenths of a second; a minute means that something hangs."""


@cache
def program(name: str) -> Path:
    """The path of one of devcluster's programs, which `devcluster build` must have built before."""
    folder = _run([str(_DEVCLUSTER), "bin"]).strip()
    path = Path(folder) / name
    if not path.exists():
        raise FileNotFoundError(f'{path} is missing: run "{_DEVCLUSTER} build" first (about 7 minutes, once)')
    return path


class _Packager:
    """Runs helm with folders of its own, so that nothing of the user's helm is read or changed."""

    def __init__(self, helm: Path | None, home: Path) -> None:
        self._helm = helm or program("helm")
        self._environment = os.environ | {
            "HELM_CACHE_HOME": str(home / "cache"),
            "HELM_CONFIG_HOME": str(home / "config"),
            "HELM_DATA_HOME": str(home / "data"),
        }

    def __call__(self, *arguments: str) -> str:
        return _run([str(self._helm), *arguments], self._environment)

    def package(self, chart: Path, into: Path, version: str | None) -> Path:
        """Package the chart folder `chart`; `version` overrides the one in its Chart.yaml."""
        words = self("package", str(chart), "--destination", str(into), *(("--version", version) if version else ()))
        found = re.search(r"saved it to: (.+)$", words, re.MULTILINE)
        if not found:
            raise RuntimeError(f"helm package did not say where the chart is: {words}")
        return Path(found[1])


class _Peer:
    """Listens within a `with` block, and has charts and helm's own files in a folder that is removed at its end."""

    def __init__(self, helm: Path | None, prefix: str) -> None:
        self._home = Path(tempfile.mkdtemp(prefix=prefix))
        self._packager = _Packager(helm, self._home)
        self._port = 0

    def start(self) -> None:
        """Listen, on the port of the last time if there was one."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop listening: from now on connections are refused. Charts and port are kept for `start`."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._home)


class ChartRepository(_Peer):
    """A chart repository: `http.server` over a folder with an index.yaml that helm wrote.

    With `username` and `password` it answers 401 to everybody else; with `tls` it serves HTTPS with a certificate made
    for this instance, to be trusted by `ca_file`. `requests` holds the path of every request, in order of arrival.
    """

    def __init__(
        self,
        *,
        helm: Path | None = None,
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
    ) -> None:
        super().__init__(helm, "chart-repository-")
        self.requests: list[str] = []
        self.username, self.password = username, password
        self._tls = tls
        self._folder = self._home / "served"
        self._folder.mkdir()
        self._server: _Server | None = None
        if tls:
            make_certificate(self.ca_file, self._key)

    @property
    def url(self) -> str:
        """The repository's address; known once it has been started, and the same after a restart."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def ca_file(self) -> Path:
        """The self-signed certificate, for a client to trust."""
        return self._home / "tls.crt"

    @property
    def _key(self) -> Path:
        return self._home / "tls.key"

    def add_chart(self, chart: Path, *, version: str | None = None) -> Path:
        """Package the chart folder `chart` and list it in the index; return the package."""
        package = self._packager.package(chart, self._folder, version)
        self._packager("repo", "index", str(self._folder))
        return package

    def add_file(self, name: str, text: str) -> str:
        """Serve a file beside the charts; return its address."""
        (self._folder / name).write_text(text)
        return f"{self.url}/{name}"

    def start(self) -> None:
        """Listen, on the port of the last time if there was one."""
        context = None
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.ca_file, self._key)
        credentials = None
        if self.username is not None:
            credentials = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        handler = partial(_Handler, directory=str(self._folder), credentials=credentials, requests=self.requests)
        self._server = _Server(("127.0.0.1", self._port), handler, context)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name=f"chart-repository-{self._port}", daemon=True).start()

    def stop(self) -> None:
        """Stop listening: from now on connections are refused. Charts and port are kept for `start`."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class OciRegistry(_Peer):
    """An OCI registry in memory, without TLS: clients need `--plain-http`."""

    def __init__(self, *, helm: Path | None = None, registry: Path | None = None) -> None:
        super().__init__(helm, "oci-registry-")
        self._program = registry or program("registry")
        self._process: subprocess.Popen[bytes] | None = None
        self._pushed: list[Path] = []
        self._log = self._home / "registry.log"

    @property
    def url(self) -> str:
        """Where charts are pushed to; a chart's own reference is `<url>/<chart name>`."""
        return f"oci://127.0.0.1:{self._port}/charts"

    def add_chart(self, chart: Path, *, version: str | None = None) -> Path:
        """Package the chart folder `chart` and push it; return the package."""
        package = self._packager.package(chart, self._home, version)
        self.push(package)
        return package

    def push(self, package: Path) -> None:
        """Push a packaged chart."""
        self._packager("push", str(package), self.url, "--plain-http")
        if package not in self._pushed:
            self._pushed.append(package)

    def start(self) -> None:
        """Listen, on the port of the last time if there was one; what was pushed before is pushed again."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(self._program), f"-port={self._port}"], stdin=subprocess.DEVNULL, stderr=log
            )
        deadline = time.monotonic() + _COMMAND_SECONDS
        while not (found := re.search(r"serving on port (\d+)\n", self._log.read_text())):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"the registry did not start: {self._log.read_text()}")
            time.sleep(0.01)  # there is nothing to wait on but the line in its log
        self._port = int(found[1])
        for package in self._pushed:
            self.push(package)

    def stop(self) -> None:
        """Kill the registry: from now on connections are refused."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


class _Server(http.server.ThreadingHTTPServer):
    def __init__(self, address: tuple[str, int], handler: partial["_Handler"], context: ssl.SSLContext | None) -> None:
        super().__init__(address, handler)
        if context:
            # The handshake belongs into the connection's own thread: here a silent client would block all others.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        # A client that distrusts our certificate or hangs up is what some tests are about.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(http.server.SimpleHTTPRequestHandler):
    timeout = 30  # seconds without a word, after which a connection is given up

    def __init__(self, *arguments: object, directory: str, credentials: str | None, requests: list[str]) -> None:
        self._credentials = credentials
        self._requests = requests
        super().__init__(*arguments, directory=directory)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self._requests.append(self.path)
        given = self.headers.get("Authorization", "")
        if self._credentials and not hmac.compare_digest(given, f"Basic {self._credentials}"):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="charts"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass  # `requests` tells more than lines on stderr


def make_certificate(certificate: Path, key: Path) -> None:
    """Write a self-signed certificate and its key."""
    if not shutil.which("openssl"):
        raise FileNotFoundError("openssl is needed to make a certificate: apt-get install openssl")
    _run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", "/CN=chart-repository", "-addext", "subjectAltName=IP:127.0.0.1,DNS:charts.test",
            "-keyout", str(key), "-out", str(certificate),
        ]
    )  # fmt: skip


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    answer = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
    )
    if answer.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {answer.stderr.strip() or answer.stdout.strip()}")
    return answer.stdout
