"""What the operator says when it cannot start: in process, against a stand-in for the API server."""

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from harness.api_server import FakeApiServer, refusal, write_kubeconfig
from managedchart_operator.app.operator import run
from managedchart_operator.app.settings import Settings
from managedchart_operator.errors import StartupError
from managedchart_operator.helm import binary
from managedchart_operator.helm.binary import check_version
from managedchart_operator.lifecycle.definitions import managedchart

CHARTS = ("GET", "/apis/managedchart.dev/v1alpha1/managedcharts")
SECRETS = ("GET", "/api/v1/secrets")
CRD = ("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/managedcharts.managedchart.dev")
EMPTY = (200, {"items": [], "metadata": {"resourceVersion": "1"}})
REVIEWS = ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
ALLOWED = (201, {"status": {"allowed": True}})


def fake_helm(folder: Path, script: str) -> str:
    """A program in helm's place."""
    path = folder / "helm"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The client library warns of what the operator itself reports better."""
    logging.getLogger("kubernetes.aio").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("kubernetes.aio").setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        pytest.param("echo v3.19.0", "Helm v3.19.0 is too old", id="helm-3"),
        pytest.param("echo v4.2.9", "this operator needs 4.3.0 or newer", id="too-old-by-a-minor-version"),
        pytest.param("echo v5.0.0", "has a major version that this operator does not support", id="too-new"),
        pytest.param("echo hello", ": exit code 0, output 'hello'", id="not-helm"),
        pytest.param("exit 3", "Could not determine the version of helm", id="broken"),
    ],
)
async def test_an_unsupported_helm_is_named_with_its_path(tmp_path: Path, script: str, says: str) -> None:
    path = fake_helm(tmp_path, script)
    with pytest.raises(StartupError) as refused:
        await check_version(path)
    assert says in refused.value.message
    assert path in refused.value.message


async def test_a_missing_helm_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(StartupError) as refused:
        await check_version(str(tmp_path / "helm"))
    assert f'there is no program "{tmp_path}/helm"' in refused.value.message
    assert refused.value.hint is not None
    assert "MANAGEDCHART_HELM_BINARY" in refused.value.hint


async def test_a_helm_that_cannot_be_run_says_why(tmp_path: Path) -> None:
    path = tmp_path / "helm"
    path.write_bytes(b"\x7fELF of another machine")
    path.chmod(0o755)
    with pytest.raises(StartupError, match=r"Helm cannot be run .*Exec format error"):
        await check_version(str(path))


async def test_the_version_is_read_from_what_helm_prints(tmp_path: Path) -> None:
    assert await check_version(fake_helm(tmp_path, "echo v4.3.1-rc.1+g0")) == "v4.3.1-rc.1+g0"


@pytest.mark.parametrize("sleeper", ["exec sleep 300", "sleep 300 & wait"], ids=["helm itself", "what it started"])
async def test_a_helm_that_does_not_answer_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleeper: str
) -> None:
    """It must not outlive the start that has given it up."""
    monkeypatch.setattr(binary, "_VERSION_SECONDS", 0.3)
    sign = tmp_path / "group"
    path = fake_helm(tmp_path, f"echo $$ > {sign}; {sleeper}")
    with pytest.raises(StartupError, match=r"Helm cannot be run .*no answer within"):
        await check_version(path)
    with pytest.raises(ProcessLookupError):  # not even a zombie: it was reaped
        os.kill(int(sign.read_text()), 0)
    async with asyncio.timeout(5):  # what was killed needs a moment to end
        while processes_of_group(int(sign.read_text())):  # noqa: ASYNC110 -- there is no event to wait for
            await asyncio.sleep(0.01)


def processes_of_group(group: int) -> list[str]:
    """What runs in a process group; what has ended and init has not reaped yet does not."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if its_group == str(group) and state != "Z":
                found.append(folder.name)
    return found


class Bench:
    """A start that gets as far as the answers allow."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self.api = FakeApiServer(answers={CHARTS: EMPTY, SECRETS: EMPTY, CRD: (200, managedchart()), REVIEWS: ALLOWED})
        self.cache = folder / "cache"
        self.port = 0

    async def refusal(self) -> StartupError:
        """Start, and return why that was refused."""
        async with self.api.running() as api:
            self._monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(self.folder / "kubeconfig")))
            return await self.refusal_without_server()

    async def refusal_without_server(self) -> StartupError:
        """Start with whatever KUBECONFIG says."""
        settings = Settings(
            helm_binary=fake_helm(self.folder, "echo v4.3.1"),
            cache_dir=self.cache,
            http_host="127.0.0.1",
            http_port=self.port,
        )
        with pytest.raises(StartupError) as refused:
            await run(settings)
        return refused.value


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


async def test_a_missing_crd_says_how_to_install_it(bench: Bench) -> None:
    bench.api.answers[CHARTS] = (404, "404 page not found")
    error = await bench.refusal()
    assert error.message == "The API server does not serve managedcharts of managedchart.dev/v1alpha1"
    assert error.hint == "Install the CRD first: kubectl apply --server-side -k crds/"


async def test_an_older_crd_ends_the_start(bench: Bench) -> None:
    """What the status of a ManagedChart would lose is named in tests/unit/kube/test_definition.py."""
    crd = managedchart()
    del crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["phase"]
    bench.api.answers[CRD] = (200, crd)
    error = await bench.refusal()
    assert "it has no field status.phase" in error.message
    assert not bench.cache.exists()


@pytest.mark.parametrize(("path", "what"), [(CHARTS, "managedcharts"), (SECRETS, "Helm's release Secrets")])
async def test_a_missing_permission_is_named_with_the_remedy(bench: Bench, path: tuple[str, str], what: str) -> None:
    sentence = 'is forbidden: User "nobody" cannot list resource'
    bench.api.answers[path] = (403, refusal(sentence, 403))
    error = await bench.refusal()
    assert error.message.startswith(f"Cannot list {what}: ")
    assert sentence in error.message
    assert error.hint is not None
    assert "deploy/rbac.yaml" in error.hint


async def test_an_api_server_that_is_down_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench.api.running():
        url = bench.api.url
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(bench.folder / "kubeconfig", url)))
    error = await bench.refusal_without_server()
    assert "The API server does not answer" in error.message
    assert url.removeprefix("http://") in error.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(None, "There is no kubeconfig at", id="missing"),
        pytest.param("a: [", "is not YAML", id="not-yaml"),
        pytest.param("a: 1", "Expected key current-context", id="not-a-kubeconfig"),
    ],
)
async def test_a_kubeconfig_that_cannot_be_used_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, text: str | None, says: str
) -> None:
    path = bench.folder / "kubeconfig"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))
    error = await bench.refusal_without_server()
    assert says in error.message
    assert str(path) in error.message


@pytest.mark.skipif(Path("/var/run/secrets/kubernetes.io/serviceaccount").exists(), reason="a pod has its cluster")
async def test_without_a_cluster_the_hint_names_both_ways(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    error = await bench.refusal_without_server()
    assert error.hint is not None
    assert "ServiceAccount" in error.hint
    assert "KUBECONFIG" in error.hint


async def test_an_unusable_cache_folder_names_setting_and_cause(bench: Bench) -> None:
    """A file stands in the way, which stops root too."""
    bench.cache.write_text("")
    error = await bench.refusal()
    assert error.message == f"The cache folder {bench.cache} cannot be written: Not a directory"
    assert error.hint is not None
    assert "MANAGEDCHART_CACHE_DIR" in error.hint


async def test_a_taken_port_is_named_with_its_setting(bench: Bench) -> None:
    other = FakeApiServer()
    async with other.running():
        bench.port = int(other.url.rpartition(":")[2])
        error = await bench.refusal()
    assert error.message == f"Cannot listen on 127.0.0.1:{bench.port}: Address already in use"
    assert error.hint is not None
    assert "MANAGEDCHART_HTTP_PORT" in error.hint


async def test_the_operator_sends_its_token_and_its_name(bench: Bench) -> None:
    bench.api.answers[CHARTS] = (403, refusal("no", 403))
    await bench.refusal()
    (headers,) = bench.api.headers
    assert headers["authorization" if "authorization" in headers else "Authorization"] == "Bearer the-token"
    assert headers["User-Agent"] == "managedchart-operator"
