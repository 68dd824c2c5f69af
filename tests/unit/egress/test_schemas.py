"""S15: a chart's schema reads nothing but what an administrator has listed; checked by the real helm, without a cluster."""

import base64
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.chart_files import package_chart
from harness.egress import SECRET, SERVERS, TRAP, Answer, Names, Server, calls, document, redirects, trap
from managedchart_operator.api.spec import ChartSource
from managedchart_operator.charts.by_helm import failed_schema_check
from managedchart_operator.charts.confinement import ChartRoots
from managedchart_operator.charts.store import ChartStore
from managedchart_operator.egress.calls import Egress
from managedchart_operator.errors import ChartError
from managedchart_operator.helm.binary import environment
from managedchart_operator.helm.command import TemplateOptions
from managedchart_operator.helm.errors.classify import classify
from managedchart_operator.helm.runner import HelmRunner
from managedchart_operator.helm.slots import HelmSlots
from managedchart_operator.reasons import Reason
from peers import ChartRepository

OPTIONS = TemplateOptions("web", "apps", "v1.36.0")
NUMBER = {"type": "integer"}
Check = Callable[..., Any]


@pytest.fixture
def helm(helm_binary: str, tmp_path: Path) -> HelmRunner:
    home = tmp_path / "home"
    home.mkdir()
    slots = HelmSlots(processes=4, applies=4, free_memory=lambda: sys.maxsize)
    return HelmRunner(helm_binary, environment(home), slots, identity=str(tmp_path))


@pytest.fixture
def internal() -> Iterator[Server]:
    with trap() as server:
        yield server


@pytest.fixture
def check(helm: HelmRunner, tmp_path: Path) -> Check:
    """Deploys a chart with this schema as far as the check of its values, and returns the message of its error or None."""

    async def no_pull(*_: object) -> None:
        raise AssertionError

    async def checked(egress: Egress, schema: Any, *, values: str = "a: 1\n", subchart: bool = False) -> str | None:
        files = {"Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n", "values.yaml": values}
        text = schema if isinstance(schema, str) else json.dumps(schema)
        files[f"{'charts/sub/' if subchart else ''}values.schema.json"] = text
        if subchart:
            files |= {
                "charts/sub/Chart.yaml": "apiVersion: v2\nname: sub\nversion: 1.0.0\n",
                "values.yaml": "sub: {a: 1}\n",
            }
        store = ChartStore(roots=ChartRoots([]), cache_dir=tmp_path / "cache", pull=no_pull, egress=egress)
        source = ChartSource(contents=base64.b64encode(package_chart(files, top="web")).decode())
        chart = await store.fetch(source)
        chart.check_schemas(egress)
        assert chart.references.remote
        async with store.without_templates(chart, schemas=True) as copy:
            failed = await failed_schema_check(helm, egress, copy, OPTIONS, [])
        if failed is None:
            return None
        error = classify(failed.stderr, exit_code=failed.exit_code, command="template")
        assert SECRET not in error.message + error.text
        return error.message

    return checked


def refers_to(url: str) -> dict[str, Any]:
    return {"properties": {"a": {"$ref": url}}}


async def error_of(check: Check, egress: Egress, schema: Any) -> ChartError:
    with pytest.raises(ChartError) as caught:
        await check(egress, schema)
    assert SECRET not in f"{caught.value.message}{caught.value.hint}"
    return caught.value


@pytest.mark.parametrize("subchart", [False, True])
async def test_a_listed_document_is_fetched_and_checked(check: Check, *, subchart: bool) -> None:
    with Server(document({"$defs": {"x": NUMBER}})) as server:
        url = f"http://charts.test:{server.port}/team/x.json"
        async with calls(Names(charts=SERVERS), sources=[f"http://charts.test:{server.port}/team"]) as egress:
            assert await check(egress, refers_to(f"{url}#/$defs/x"), subchart=subchart) is None
            if not subchart:
                refused = await check(egress, refers_to(f"{url}#/$defs/x"), values="a: text\n")
                assert refused == "The chart's schema refuses the values: web: a: got string, want integer"
    assert set(server.targets) == {"/team/x.json"}
    assert all(headers["User-Agent"] == "managedchart-operator" for _, _, headers in server.requests), (
        "helm called itself"
    )


async def test_a_listed_document_with_tls_is_fetched(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    with ChartRepository(tls=True) as peer:
        peer.add_file("x.json", json.dumps(NUMBER))
        url = peer.url.replace("127.0.0.1", "charts.test")
        async with calls(Names(charts=SERVERS), sources=[url]) as egress:
            error = await error_of(check, egress, refers_to(f"{url}/x.json"))
    assert (error.reason, error.message) == (
        Reason.CERTIFICATE_NOT_TRUSTED,
        f"The chart's values.schema.json needs {url}/x.json, which has a TLS certificate that is not trusted",
    )


async def test_documents_may_refer_to_each_other(check: Check) -> None:
    answers = {
        "/a.json": {"$ref": "sub/b.json#/$defs/x"},
        "/sub/b.json": {"$defs": {"x": {"$ref": "../c.json"}}},
        "/c.json": NUMBER,
    }
    with Server(lambda target: document(answers[target])(target)) as server:
        base = f"http://charts.test:{server.port}"
        async with calls(Names(charts=SERVERS), sources=[base]) as egress:
            assert await check(egress, refers_to(f"{base}/a.json")) is None
            assert await check(egress, refers_to(f"{base}/a.json"), values="a: x\n") is not None


async def test_an_address_that_is_not_listed_is_refused_before_helm_runs(check: Check) -> None:
    async with calls(Names(), sources=["https://charts.example.com/team"]) as egress:
        for url, says in {
            "https://charts.example.com.attacker.org/team/x.json": "is not one of the chart sources that the operator allows",
            "https://charts.example.com/team/../x.json": "cannot be compared with the allowed chart sources",
            "http://127.0.0.1:1/x.json": "is not one of the chart sources that the operator allows",
        }.items():
            error = await error_of(check, egress, refers_to(url))
            assert (error.reason, error.transient) == (Reason.VALUES_SCHEMA_REMOTE, True)
            assert error.message.startswith(f"The chart's values.schema.json needs {url}, which {says}")
            assert "set spec.skipSchemaValidation: true" in (error.hint or "")


async def test_without_a_list_a_schema_may_refer_to_public_addresses_only(check: Check, internal: Server) -> None:
    """As charts may come from there; names are checked when they are resolved."""
    async with calls(Names(internal=TRAP)) as egress:
        for host in ("169.254.169.254", "127.0.0.2", "kubernetes.default.svc", "internal.test"):
            error = await error_of(check, egress, refers_to(f"http://{host}:{internal.port}/x.json"))
            assert error.reason is Reason.VALUES_SCHEMA_REMOTE
            assert "which the operator may not call for a chart: " in error.message
    assert not internal.requests
    with Server(document(NUMBER)) as server:
        async with calls(Names(charts=SERVERS)) as egress:
            assert await check(egress, refers_to(f"http://charts.test:{server.port}/x.json")) is None


async def test_a_redirect_to_an_internal_service_is_refused(check: Check, internal: Server) -> None:
    for host in ("internal.test", TRAP, "[::ffff:127.0.0.2]"):
        with Server(redirects(f"http://{host}:{internal.port}/x")) as server:
            base = f"http://charts.test:{server.port}"
            async with calls(Names(charts=SERVERS, internal=TRAP), sources=[base]) as egress:
                error = await error_of(check, egress, refers_to(f"{base}/x.json"))
        assert server.requests
        assert error.reason is Reason.VALUES_SCHEMA_REMOTE
        assert error.message.endswith("which the operator may not call for a chart: its address is loopback")
    assert not internal.requests


BAD_DOCUMENTS: dict[str, tuple[Any, str]] = {
    "a file": (refers_to("file:///etc/passwd"), 'refers to "file:///etc/passwd", which is neither'),
    "a file after an id": ({**refers_to("passwd"), "$id": "file:///etc/x"}, 'refers to "passwd", which is neither'),
    "an address that is not listed": (refers_to("https://attacker.example/x"), "which is not one of the chart sources"),
    "a draft of its own": ({"$schema": "https://attacker.example/x"}, "which is not one of the chart sources"),
}


@pytest.mark.parametrize("name", BAD_DOCUMENTS)
async def test_a_listed_document_leads_nowhere_else(name: str, check: Check) -> None:
    """helm would read files of the pod that a fetched document refers to, and fetch from anywhere."""
    schema, says = BAD_DOCUMENTS[name]
    with Server(document(schema)) as server:
        base = f"http://charts.test:{server.port}"
        async with calls(Names(charts=SERVERS), sources=[base]) as egress:
            error = await error_of(check, egress, refers_to(f"{base}/x.json"))
    assert says in error.message


async def test_an_escaped_reference_is_refused_as_well(check: Check, internal: Server) -> None:
    """The search finds it, and where the replacement does not, the proxy has no such document."""
    text = json.dumps(refers_to(f"http://127.0.0.2:{internal.port}/x")).replace("$ref", "\\u0024ref")
    async with calls(Names(), sources=[f"http://127.0.0.2:{internal.port}"], opened=["127.0.0.0/8"]) as egress:
        message = await check(egress, text)
    assert message is not None
    assert message.startswith("The chart's values.schema.json needs http://127.0.0.2")
    assert not internal.requests


@pytest.mark.parametrize(
    ("answer", "reason", "says"),
    [
        ((404, {}, SECRET.encode()), Reason.CHART_INVALID, "does not exist (404)"),
        ((500, {}, SECRET.encode()), Reason.CHART_SOURCE_UNAVAILABLE, "cannot be fetched: status 500"),
        ((200, {}, b"x" * (6 << 20)), Reason.CHART_INVALID, "is larger than 5 MiB"),
        ((200, {}, b"[" * 200_000), Reason.CHART_INVALID, "is nested too deep"),
        ((302, {"Location": "/again"}, b""), Reason.CHART_SOURCE_UNAVAILABLE, "more than 5 redirects"),
        ((302, {"Location": "file:///etc/passwd"}, b""), Reason.CHART_SOURCE_UNAVAILABLE, "the request failed"),
    ],
    ids=["404", "500", "large", "deep", "redirects", "file"],
)
async def test_what_is_wrong_with_a_document_is_said_without_its_content(
    answer: Answer, reason: Reason, says: str, check: Check
) -> None:
    with Server(lambda _: answer) as server:
        base = f"http://charts.test:{server.port}"
        async with calls(Names(charts=SERVERS), sources=[base]) as egress:
            error = await error_of(check, egress, refers_to(f"{base}/x.json?token=q"))
    assert error.reason is reason
    assert error.message.startswith(f"The chart's values.schema.json needs {base}/x.json?…, which ")
    assert error.message.endswith(says) or says in error.message


async def test_an_answer_that_is_not_json_is_named_without_its_content(check: Check) -> None:
    with Server(lambda _: (200, {}, f"<html>{SECRET}".encode())) as server:
        base = f"http://charts.test:{server.port}"
        async with calls(Names(charts=SERVERS), sources=[base]) as egress:
            message = await check(egress, refers_to(f"{base}/x.json"))
    assert message == f"The chart's values.schema.json needs {base}/x.json, which is not JSON"


async def test_a_host_that_cannot_be_reached_is_named(check: Check) -> None:
    async with calls(Names(charts=SERVERS), sources=["http://charts.test:1"]) as egress:
        error = await error_of(check, egress, refers_to("http://charts.test:1/x.json"))
    assert (error.reason, error.transient) == (Reason.CHART_SOURCE_UNAVAILABLE, True)
    assert error.message.endswith("which cannot be fetched: connection refused")
