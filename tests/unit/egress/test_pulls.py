"""`helm pull` through the operator's proxy: charts arrive, and what leads to an address that is refused does not."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.chart_files import package_chart, write_chart
from harness.egress import (
    SECRET,
    SERVERS,
    TRAP,
    Answer,
    Names,
    Server,
    asks_for_token,
    calls,
    indexes,
    redirects,
    trap,
)
from managedchart_operator.api.spec import ChartSource
from managedchart_operator.charts.by_helm import pull
from managedchart_operator.egress.calls import Egress
from managedchart_operator.errors import ChartError, OperatorError
from managedchart_operator.helm.binary import environment
from managedchart_operator.helm.connections import supported
from managedchart_operator.helm.runner import HelmRunner
from managedchart_operator.helm.slots import HelmSlots
from managedchart_operator.reasons import Reason
from peers import ChartRepository, OciRegistry


@pytest.fixture
def helm(helm_binary: str, tmp_path: Path) -> HelmRunner:
    slots = HelmSlots(processes=4, applies=0, free_memory=lambda: sys.maxsize)
    home = tmp_path / "home"
    home.mkdir()
    # Pulls get the proxy even if the operator's environment exempts hosts from its own.
    return HelmRunner(helm_binary, {**environment(home), "NO_PROXY": "*"}, slots, identity=str(tmp_path))


@pytest.fixture
def internal() -> Iterator[Server]:
    with trap() as server:
        yield server


def repository(port: int, *, host: str = "charts.test", scheme: str = "http") -> ChartSource:
    return ChartSource(repository=f"{scheme}://{host}:{port}", name="web", version="1.0.0")


def registry(port: int, *, host: str = "charts.test") -> ChartSource:
    return ChartSource.model_validate({"oci": f"oci://{host}:{port}/charts/web", "version": "1.0.0", "plainHTTP": True})


async def pulled(helm: HelmRunner, egress: Egress, source: ChartSource, folder: Path) -> list[str]:
    await asyncio.to_thread(folder.mkdir)
    egress.check_source(source)
    await pull(helm, egress, source, folder)
    return await asyncio.to_thread(os.listdir, folder)


async def refusal(helm: HelmRunner, egress: Egress, source: ChartSource, folder: Path) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        await pulled(helm, egress, source, folder)
    assert SECRET not in f"{caught.value.message}{getattr(caught.value, 'text', '')}{caught.value.hint}"
    return caught.value


async def test_a_chart_of_a_repository_without_tls_arrives(helm: HelmRunner, tmp_path: Path) -> None:
    with ChartRepository() as peer:
        peer.add_chart(write_chart(tmp_path / "web", chart()))
        async with calls(Names(charts=SERVERS)) as egress:
            assert await pulled(helm, egress, repository(peer_port(peer)), tmp_path / "to") == ["web-1.0.0.tgz"]
            assert peer.requests


async def test_a_chart_of_a_repository_with_tls_arrives(helm: HelmRunner, tmp_path: Path) -> None:
    """By CONNECT: the proxy sees the name and the port only, and helm checks the certificate."""
    with ChartRepository(tls=True) as peer:
        peer.add_chart(write_chart(tmp_path / "web", chart()))
        trusting = HelmRunner(
            helm.binary, {**helm.environment, "SSL_CERT_FILE": str(peer.ca_file)}, helm.slots, identity="x"
        )
        async with calls(Names(charts=SERVERS)) as egress:
            source = repository(peer_port(peer), scheme="https")
            assert await pulled(trusting, egress, source, tmp_path / "to") == ["web-1.0.0.tgz"]
            error = await refusal(helm, egress, source, tmp_path / "untrusted")
            assert error.reason is Reason.CERTIFICATE_NOT_TRUSTED


async def test_a_chart_of_a_registry_arrives(helm: HelmRunner, tmp_path: Path) -> None:
    with OciRegistry() as peer:
        peer.add_chart(write_chart(tmp_path / "web", chart()))
        port = int(peer.url.split(":")[2].split("/")[0])
        async with calls(Names(charts=SERVERS)) as egress:
            assert await pulled(helm, egress, registry(port), tmp_path / "to") == ["web-1.0.0.tgz"]


ATTACKS: dict[str, Callable[[str], Callable[[str], Answer]]] = {
    "a redirect": lambda to: redirects(f"{to}/latest/meta-data"),
    "an address in the index": lambda to: indexes(f"{to}/web-1.0.0.tgz"),
}


@pytest.mark.parametrize("host", ["internal.test", "127.2", "0x7f000002", "2130706434", "017700000002"])
@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_repository_that_leads_to_an_internal_service_is_stopped(
    attack: str, host: str, helm: HelmRunner, internal: Server, tmp_path: Path
) -> None:
    """S14: by a redirect and by its index, also where the address is written so that Go takes it for a name."""
    with Server(ATTACKS[attack](f"http://{host}:{internal.port}")) as attacker:
        async with calls(Names(charts=SERVERS, internal=TRAP)) as egress:
            error = await refusal(helm, egress, repository(attacker.port), tmp_path / "to")
    assert attacker.requests
    assert not internal.requests
    assert error.reason is Reason.CHART_SOURCE_NOT_ALLOWED
    assert error.message == (
        f"http://charts.test:{attacker.port} leads to http://{host}:{internal.port}, which the operator may not call for a "
        "chart: its address is loopback"
    )


async def test_a_registry_whose_login_server_is_an_internal_service_gets_no_token(
    helm: HelmRunner, internal: Server, tmp_path: Path
) -> None:
    """S14: the operator would send what that service answers to the registry, as its token."""
    with Server(asks_for_token(f"http://internal.test:{internal.port}/latest/credentials")) as attacker:
        async with calls(Names(charts=SERVERS, internal=TRAP)) as egress:
            error = await refusal(helm, egress, registry(attacker.port), tmp_path / "to")
    assert not internal.requests
    assert not any("Authorization" in headers for _, _, headers in attacker.requests)
    assert error.reason is Reason.CHART_SOURCE_NOT_ALLOWED


async def test_a_registry_that_redirects_to_an_internal_service_is_stopped(
    helm: HelmRunner, internal: Server, tmp_path: Path
) -> None:
    """S14."""
    with Server(redirects(f"http://internal.test:{internal.port}/x")) as attacker:
        async with calls(Names(charts=SERVERS, internal=TRAP)) as egress:
            error = await refusal(helm, egress, registry(attacker.port), tmp_path / "to")
    assert not internal.requests
    assert error.reason is Reason.CHART_SOURCE_NOT_ALLOWED


async def test_a_name_that_has_another_address_later_is_checked_again(
    helm: HelmRunner, internal: Server, tmp_path: Path
) -> None:
    """S14, DNS rebinding: public for the index, internal for the chart."""
    names = Names()
    names.rebinding["charts.test"] = [SERVERS, TRAP]
    with Server(indexes(f"http://charts.test:{internal.port}/web-1.0.0.tgz")) as attacker:
        async with calls(names) as egress:
            error = await refusal(helm, egress, repository(attacker.port), tmp_path / "to")
    assert attacker.requests
    assert not internal.requests
    assert names.asked == ["charts.test", "charts.test"]
    assert error.reason is Reason.CHART_SOURCE_NOT_ALLOWED


@pytest.mark.parametrize("addresses", [[SERVERS, TRAP], [TRAP, SERVERS]])
async def test_a_name_with_one_refused_address_among_others_is_refused(
    addresses: list[str], helm: HelmRunner, internal: Server, tmp_path: Path
) -> None:
    """S14: which of them is used would be chance."""
    async with calls(Names(charts=addresses)) as egress:
        error = await refusal(helm, egress, repository(internal.port), tmp_path / "to")
    assert not internal.requests
    assert (
        error.message
        == f"The operator may not call http://charts.test:{internal.port} for a chart: its address is loopback"
    )


@pytest.mark.skipif(not supported(), reason="the kernel has no Landlock for connections (Linux 6.7)")
@pytest.mark.parametrize("host", ["127.0.0.2", "localhost", "[::ffff:127.0.0.2]"])
@pytest.mark.parametrize("attack", ATTACKS)
async def test_what_go_calls_without_a_proxy_is_not_called_either(
    attack: str, host: str, helm: HelmRunner, internal: Server, tmp_path: Path
) -> None:
    """S14: a listener of the pod itself, to which Go connects directly, also by redirect."""
    with Server(ATTACKS[attack](f"http://{host}:{internal.port}")) as attacker:
        async with calls(Names(charts=SERVERS), only_by_proxy=True) as egress:
            error = await refusal(helm, egress, repository(attacker.port), tmp_path / "to")
    assert attacker.requests
    assert not internal.requests
    assert error.reason is Reason.CHART_SOURCE_NOT_ALLOWED
    assert error.message.endswith("is an address of the operator's own pod, which it may not call for a chart")


async def test_a_pull_that_may_use_the_proxy_only_succeeds(helm: HelmRunner, tmp_path: Path) -> None:
    with ChartRepository() as peer:
        peer.add_chart(write_chart(tmp_path / "web", chart()))
        async with calls(Names(charts=SERVERS), only_by_proxy=True) as egress:
            assert await pulled(helm, egress, repository(peer_port(peer)), tmp_path / "to") == ["web-1.0.0.tgz"]


REFUSED_SOURCES = {
    "http://127.0.0.2:1": "its address is loopback",
    "http://localhost:1": "its address is loopback",
    "http://[::1]:1": "its address is loopback",
    "http://[::ffff:7f00:2]:1": "its address is loopback",
    "http://169.254.169.254/latest": "its address is link-local",
    "http://0x0a.1:1": "its address is private",
    "http://kubernetes.default.svc": "it belongs to the cluster",
    "http://[64:ff9b::a9fe:a9fe]/latest": "its address is link-local",
}


@pytest.mark.parametrize("url", REFUSED_SOURCES)
async def test_an_internal_address_in_the_spec_is_refused_before_helm_runs(url: str) -> None:
    """S14: Go calls this machine without any proxy, so this is checked in the spec."""
    async with calls(Names(), opened=()) as egress:
        with pytest.raises(ChartError) as caught:
            egress.check_source(ChartSource(repository=url, name="web"))
    assert caught.value.reason is Reason.CHART_SOURCE_NOT_ALLOWED
    assert caught.value.message.startswith("spec.chart.repository: the operator may not call http://")
    assert caught.value.message.endswith(REFUSED_SOURCES[url])


async def test_a_source_that_is_not_listed_is_refused_before_helm_runs() -> None:
    async with calls(Names(), sources=["https://charts.example.com/team", "oci://ghcr.io/org"]) as egress:
        egress.check_source(ChartSource(repository="https://charts.example.com/team/", name="web"))
        egress.check_source(ChartSource(oci="oci://ghcr.io/org/web"))
        egress.check_source(ChartSource(path="/charts/web"))
        with pytest.raises(ChartError) as caught:
            egress.check_source(ChartSource(repository="https://charts.example.com.attacker.org/team", name="web"))
    assert caught.value.message == (
        "spec.chart.repository: https://charts.example.com.attacker.org/team is not one of the chart sources that the "
        "operator allows"
    )
    assert caught.value.hint == (
        'Use an allowed source, or add "https://charts.example.com.attacker.org/team" to the list in the operator\'s setting '
        "MANAGEDCHART_CHART_SOURCES."
    )
    assert caught.value.reason is Reason.CHART_SOURCE_NOT_ALLOWED


async def test_a_listed_source_may_lead_to_public_hosts_that_are_not_listed(helm: HelmRunner, tmp_path: Path) -> None:
    """Registries redirect to the hosts of their blobs; the address decides."""
    package = package_chart(chart(), top="web")
    with Server(lambda _: (200, {}, package)) as blobs, Server(indexes(f"{at(blobs)}/web-1.0.0.tgz")) as peer:
        sources = [f"http://charts.test:{peer.port}"]
        async with calls(Names(charts=SERVERS, blobs=SERVERS), sources=sources) as egress:
            assert await pulled(helm, egress, repository(peer.port), tmp_path / "to") == ["web-1.0.0.tgz"]


async def test_a_host_that_cannot_be_reached_is_named(helm: HelmRunner, tmp_path: Path) -> None:
    async with calls(Names(charts=SERVERS)) as egress:
        refused = await refusal(helm, egress, repository(1), tmp_path / "to")
        unknown = await refusal(helm, egress, repository(1, host="nowhere.test", scheme="https"), tmp_path / "too")
    assert (refused.message, refused.reason) == (
        "http://charts.test:1 cannot be reached: connection refused",
        Reason.CHART_SOURCE_UNAVAILABLE,
    )
    assert unknown.message == "https://nowhere.test:1 cannot be reached: no such host"
    assert refused.transient
    assert unknown.transient


def chart() -> dict[str, str]:
    return {"Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n"}


def peer_port(peer: ChartRepository) -> int:
    return int(peer.url.rpartition(":")[2])


def at(blobs: Server) -> str:
    return f"http://blobs.test:{blobs.port}"
