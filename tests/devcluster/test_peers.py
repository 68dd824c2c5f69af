"""The peers are real: helm itself talks to them as it would to anybody's repository or registry."""

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from peers import ChartRepository, OciRegistry, program

Helm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Runs helm with folders of its own; the answer carries exit code, stdout and stderr."""
    home = tmp_path_factory.mktemp("helm")
    path = program("helm")
    folders = {f"HELM_{kind}_HOME": str(home / kind) for kind in ("CACHE", "CONFIG", "DATA")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [path, *arguments], env=os.environ | folders, capture_output=True, text=True, timeout=30, check=False
        )

    return run


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chart folder with one ConfigMap."""
    folder = tmp_path_factory.mktemp("charts") / "hello"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: hello\nversion: 1.0.0\n")
    (folder / "templates" / "map.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: hello}\n")
    return folder


def test_helm_finds_both_versions_in_a_repository(helm: Helm, chart: Path) -> None:
    with ChartRepository() as repository:
        repository.add_chart(chart)
        repository.add_chart(chart, version="1.1.0")
        for version in ("1.0.0", "1.1.0"):
            shown = helm("show", "chart", "hello", "--repo", repository.url, "--version", version)
            assert f"version: {version}" in shown.stdout, shown.stderr
        assert "/index.yaml" in repository.requests
        assert "/hello-1.1.0.tgz" in repository.requests


def test_a_repository_with_a_password_refuses_everybody_else(helm: Helm, chart: Path) -> None:
    with ChartRepository(username="me", password="secret") as repository:
        repository.add_chart(chart)
        refused = helm("show", "chart", "hello", "--repo", repository.url)
        assert refused.returncode != 0
        assert "401" in refused.stderr
        welcome = helm("show", "chart", "hello", "--repo", repository.url, "--username", "me", "--password", "secret")
        assert "version: 1.0.0" in welcome.stdout, welcome.stderr


def test_a_repository_with_tls_is_trusted_by_its_certificate_only(helm: Helm, chart: Path) -> None:
    with ChartRepository(tls=True) as repository:
        repository.add_chart(chart)
        assert repository.url.startswith("https://")
        distrusted = helm("show", "chart", "hello", "--repo", repository.url)
        assert distrusted.returncode != 0
        assert "certificate" in distrusted.stderr
        trusted = helm("show", "chart", "hello", "--repo", repository.url, "--ca-file", str(repository.ca_file))
        assert "version: 1.0.0" in trusted.stdout, trusted.stderr


def test_a_stopped_repository_comes_back_on_the_same_port(helm: Helm, chart: Path) -> None:
    with ChartRepository() as repository:
        url = repository.url
        repository.add_chart(chart)
        repository.stop()
        gone = helm("show", "chart", "hello", "--repo", url)
        assert gone.returncode != 0
        assert "refused" in gone.stderr
        repository.start()
        assert repository.url == url
        assert helm("show", "chart", "hello", "--repo", url).returncode == 0


def test_a_repository_leaves_neither_port_nor_folder(chart: Path) -> None:
    with ChartRepository() as repository:
        package = repository.add_chart(chart)
        port = int(repository.url.rpartition(":")[2])
    assert not package.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_helm_pulls_what_was_pushed_to_the_registry(helm: Helm, chart: Path, tmp_path: Path) -> None:
    with OciRegistry() as registry:
        registry.add_chart(chart, version="2.0.0")
        pulled = helm(
            "pull", f"{registry.url}/hello", "--version", "2.0.0", "--plain-http", "--destination", str(tmp_path)
        )
        assert pulled.returncode == 0, pulled.stderr
        assert (tmp_path / "hello-2.0.0.tgz").stat().st_size > 0


def test_a_restarted_registry_has_the_same_port_and_charts(helm: Helm, chart: Path) -> None:
    with OciRegistry() as registry:
        url = registry.url
        registry.add_chart(chart)
        registry.stop()
        assert helm("show", "chart", f"{url}/hello", "--plain-http").returncode != 0
        registry.start()
        assert registry.url == url
        assert "version: 1.0.0" in helm("show", "chart", f"{url}/hello", "--plain-http").stdout
