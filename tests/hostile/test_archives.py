"""S6, S7, S13, S17: packaged charts and downloads that claim, or are, more than anybody can hold.

Each costs its own resource only: the operator stays ready, another team's chart is deployed meanwhile, and the memory of the
operator and its children stays below the pod's limit. More of them are in tests/unit/charts/test_search.py.
"""

import base64
import gzip
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from harness.chart_files import contents, package_chart
from harness.cluster import Cluster, managedchart
from harness.memory import POD_BYTES, sampled_memory
from harness.operator_process import OperatorProcess
from harness.tenants import Tenant

RETRY = {"limit": 1, "backoff": "1s"}
CHART = b"apiVersion: v2\nname: web\nversion: 1.0.0\n"


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as opened:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            opened.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def sparse() -> bytes:
    """S6: a member of 100 GiB without any data."""
    header = tarfile.TarInfo("web/templates/a.yaml")
    header.pax_headers = {f"GNU.sparse.{name}": value for name, value in SPARSE.items()}
    return gzip.compress(header.tobuf(tarfile.PAX_FORMAT) + tar({"web/Chart.yaml": CHART}))


SPARSE = {"map": f"{100 * 2**30},0", "realsize": str(100 * 2**30), "size": str(100 * 2**30)}


def nested() -> bytes:
    """S7: 10,000 leaves of 28 MiB each in 60 KB."""
    leaf = gzip.compress(tar({f"x/{number}": bytes(4 << 20) for number in range(7)}))
    inner = gzip.compress(tar({f"x/charts/{number}.tgz": leaf for number in range(500)}))
    return gzip.compress(tar({"web/Chart.yaml": CHART, **{f"web/charts/{number}.tgz": inner for number in range(20)}}))


def headers() -> bytes:
    """S17: headers about headers, which tarfile follows by recursion."""
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 5
    header = name.tobuf(tarfile.GNU_FORMAT) + b"name\0".ljust(tarfile.BLOCKSIZE, b"\0")
    return gzip.compress(header * 1200 + tar({"web/Chart.yaml": CHART}))


def failure(cluster: Cluster, namespace: str, name: str, *, timeout: float = 60.0) -> tuple[str, str]:
    """Wait until a ManagedChart has failed; return reason and message."""
    last = cluster.wait_failure(namespace, name, timeout=timeout)["lastFailure"]
    return last["reason"], last["message"]


def test_archives_cost_their_own_resource_only(
    cluster: Cluster, operator: OperatorProcess, teams: tuple[Tenant, Tenant]
) -> None:
    """S6, S7, S17: each is refused within seconds, however many there are; memory and others' charts are not touched."""
    attacker, victim = teams
    bombs = {"sparse": sparse(), "headers": headers(), **{f"nested-{number}": nested() for number in range(3)}}
    with sampled_memory(operator.pid) as peak:
        for name, data in bombs.items():
            attacker.create(managedchart(name, {"contents": base64.b64encode(data).decode()}, retry=RETRY))
        victim.create(managedchart("small", contents(package_chart())))
        cluster.wait_ready(victim.namespace, "small")
        found = {name: failure(cluster, attacker.namespace, name) for name in bombs}
    assert {reason for reason, _ in found.values()} == {"ChartInvalid"}
    assert found["sparse"][1] == "spec.chart.contents: it has a member that is neither a plain file nor a folder"
    assert found["nested-0"][1] == "spec.chart.contents: it decompresses to more than 100 MiB"
    assert found["headers"][1] == "spec.chart.contents: the archive is damaged or cut off"
    print(f"\npeak of operator and children: {peak.bytes >> 20} MiB")
    assert peak.bytes < POD_BYTES / 2
    assert operator.running


@contextmanager
def endless_repository(megabytes: int) -> Iterator[str]:
    """A repository whose charts and whose index (below /index) have any number of bytes; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            if self.path == "/charts/index.yaml":
                self.wfile.write(
                    b"apiVersion: v1\nentries: {web: [{apiVersion: v2, name: web, version: 1.0.0, urls: [web-1.0.0.tgz]}]}\n"
                )
                return
            try:
                for _ in range(megabytes):
                    self.wfile.write(b"# " + b"x" * (2**20 - 3) + b"\n")
            except OSError:
                pass  # stopped, as it should be

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def bytes_in(folder: Path) -> int:
    """Return the size of all files; the operator may delete some meanwhile."""
    total = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


@pytest.mark.parametrize("what", ["charts", "index"])
def test_downloads_are_bounded_while_they_arrive(
    cluster: Cluster,
    operator: OperatorProcess,
    teams: tuple[Tenant, Tenant],
    operator_folder: Path,
    what: str,
) -> None:
    """S13: 2 GiB of a chart, or of an index, are neither stored nor held in memory.

    Helm's memory limit ends it, or the proxy: which one is first depends on the machine. The reason is the same.
    """
    attacker, victim = teams
    with endless_repository(2048) as url, sampled_memory(operator.pid) as peak:
        attacker.create(managedchart("huge", {"repository": f"{url}/{what}", "name": "web"}, retry=RETRY))
        victim.create(managedchart("small", contents(package_chart())))
        cluster.wait_ready(victim.namespace, "small")
        reason, message = failure(cluster, attacker.namespace, "huge", timeout=120)
    print(f"\n{message}; peak of operator and children: {peak.bytes >> 20} MiB")
    assert reason == "ChartTooLarge", message
    assert peak.bytes < POD_BYTES / 2
    assert bytes_in(operator_folder / "cache") < 64 << 20
    assert operator.running
