"""`http` and `metric` judge the answers of a Service; the way through the API server is tested on one."""

import json
from dataclasses import replace
from typing import Any

import pytest

from managedchart_operator.egress.metrics import MetricAnswer
from managedchart_operator.errors import KubeError, LifecycleError, OperatorError, SpecError
from managedchart_operator.kube.client import Relayed
from managedchart_operator.reasons import Reason
from unit.lifecycle.actions.stage import once
from unit.lifecycle.fakes import Bench, FakeCluster, bench


class Answering(FakeCluster):
    """An API server that relays one answer; `asked` has the paths and queries."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        super().__init__()
        self.answer = Relayed(status, body, cut_off=False)
        self.asked: list[tuple[str, Any]] = []
        self.seconds = 0.0
        self.allowed = False
        """Whether the user may call Services."""
        self.silent = False
        """Whether it answers nothing else."""
        self.hangs = False
        """Whether the Service never answers."""
        self.then: Relayed | None = None
        """What it answers from the second call on."""

    async def request(self, method: str, path: str, *, body: Any = None, **more: Any) -> Any:
        """Whether the user may call Services."""
        if not path.endswith("/selfsubjectaccessreviews"):
            return await super().request(method, path, body=body, **more)
        if self.silent:
            raise KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)
        asked = body["spec"]["resourceAttributes"]
        assert (asked["verb"], asked["resource"], asked["subresource"]) == ("get", "services", "proxy")
        assert asked["name"] == "http:web:8080"
        return {"status": {"allowed": self.allowed}}

    async def call_through(self, path: str, *, query: Any, seconds: float, most: int) -> Relayed:
        self.seconds = seconds
        assert most > 0
        self.asked.append((path, query))
        if self.hangs:
            raise KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)
        answer, self.answer = self.answer, self.then or self.answer
        return answer


def samples(*values: str) -> bytes:
    result = [{"metric": {}, "value": [1, value]} for value in values]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


def on(status: int, body: bytes = b"") -> tuple[Bench, Answering]:
    cluster = Answering(status, body)
    return bench(cluster=cluster), cluster


HTTP = {"service": "web", "port": 8080, "path": "/ready?full=1"}
METRIC = {"service": "prometheus", "namespace": "monitoring", "port": "web", "query": "sum(up)", "expr": "value >= 1.0"}


async def test_http_goes_through_the_api_server() -> None:
    scene, cluster = on(200)

    done = await once({"http": HTTP}, on=scene)

    assert done.message == "Service apps/web answers 200"
    assert cluster.asked == [("/api/v1/namespaces/apps/services/http:web:8080/proxy/ready", {"full": "1"})]


@pytest.mark.parametrize(("status", "wanted"), [(500, None), (404, None), (200, 404)])
async def test_http_fails_without_what_was_answered(status: int, wanted: int | None) -> None:
    scene, _ = on(status, b"secret page")

    with pytest.raises(LifecycleError) as failed:
        await once({"http": {**HTTP, **({"status": wanted} if wanted else {})}}, on=scene)

    assert failed.value.message == f"Service apps/web answers {status}" + (f", not {wanted}" if wanted else "")


async def test_a_redirect_is_an_answer() -> None:
    """It is not followed: it may lead anywhere."""
    scene, cluster = on(302)

    await once({"http": {**HTTP, "status": 302}}, on=scene)

    assert len(cluster.asked) == 1


async def test_http_reports_a_missing_permission() -> None:
    refused = {
        "kind": "Status",
        "apiVersion": "v1",
        "message": 'services "web" is forbidden: User "system:serviceaccount:apps:a" cannot get resource "services/proxy"'
        ' in API group "" in the namespace "apps"',
    }
    scene, _ = on(403, json.dumps(refused).encode())

    with pytest.raises(KubeError) as failed:
        await once({"http": HTTP}, on=scene)

    assert failed.value.reason is Reason.FORBIDDEN


async def test_an_api_server_that_has_just_started_is_asked_again() -> None:
    """It refuses everybody for a moment, and that is not what the Service answers."""
    lacking = 'cannot get resource "services/proxy" in API group "" in the namespace "apps"'
    scene, cluster = on(403, status(f'services "web" is forbidden: User "u" {lacking}'))
    cluster.allowed, cluster.then = True, Relayed(200, b"", cut_off=False)

    done = await once({"http": HTTP}, on=scene)

    assert done.message == "Service apps/web answers 200"


def status(message: str) -> bytes:
    return json.dumps({"kind": "Status", "apiVersion": "v1", "message": message}).encode()


FORBIDDEN = (
    'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "apps"'
)


async def test_what_a_service_forbids_is_its_answer() -> None:
    """An aggregated API, or a webhook, refuses in the API server's own words: whoever may call it was passed on."""
    scene, cluster = on(403, status(FORBIDDEN))
    cluster.allowed = True

    with pytest.raises(LifecycleError) as failed:
        await once({"http": HTTP}, on=scene)

    assert failed.value.message == "Service apps/web answers 403"
    assert (await once({"http": {**HTTP, "status": 403}}, on=scene)).message == "Service apps/web answers 403"


@pytest.mark.parametrize(("code", "said"), [(403, FORBIDDEN), (503, "down"), (404, 'services "web" not found')])
async def test_an_answer_that_came_through_two_api_servers_is_of_the_second(code: int, said: str) -> None:
    scene, cluster = on(code, status(said))
    cluster.answer = replace(cluster.answer, api_servers=2)

    with pytest.raises(LifecycleError, match=f"^Service apps/web answers {code}$"):
        await once({"http": HTTP}, on=scene)


@pytest.mark.parametrize("code", [401, 429, 500, 503])
async def test_both_are_named_where_either_may_have_answered(code: int) -> None:
    """Neither counts as an answer of the Service; what was said is not repeated."""
    scene, cluster = on(code, status("secret page"))
    cluster.silent = True

    with pytest.raises(KubeError) as failed:
        await once({"http": HTTP}, on=scene)

    assert failed.value.message == f"The API server, or Service apps/web behind it, answers {code}"
    assert (failed.value.reason, failed.value.transient) == (Reason.API_UNAVAILABLE, True)


@pytest.mark.parametrize("code", [401, 429, 500, 503])
async def test_a_service_cannot_feign_an_api_server_that_does_not_answer(code: int) -> None:
    """A validation without an answer does not count: a tenant could turn off the check of a profile."""
    scene, _ = on(code, status("the server is currently unable to handle the request"))

    with pytest.raises(LifecycleError, match=f"^Service apps/web answers {code}$"):
        await once({"http": HTTP}, on=scene)


@pytest.mark.parametrize(
    "said",
    [
        'invalid service request "a"',
        "error trying to reach service: etcdserver: request timed out",
        'error trying to reach service: is forbidden: User "u" cannot get resource "pods" in API group "" at the cluster scope',
    ],
)
async def test_a_service_cannot_speak_as_the_api_server(said: str) -> None:
    """Neither of an outage, nor of a permission, for which the hint would have a command that grants it."""
    scene, cluster = on(503, status(said))
    cluster.allowed = True

    with pytest.raises(LifecycleError) as failed:
        await once({"http": HTTP}, on=scene)

    assert failed.value.reason is Reason.LIFECYCLE_FAILED
    assert "pods" not in failed.value.message
    assert "grant" not in (failed.value.hint or "").lower()


@pytest.mark.parametrize("silent", [False, True])
async def test_a_service_that_hangs_is_told_from_an_api_server_that_does(*, silent: bool) -> None:
    """Otherwise what never answers would never fail."""
    scene, cluster = on(200)
    cluster.hangs, cluster.silent = True, silent

    with pytest.raises(OperatorError) as failed:
        await once({"http": HTTP}, on=scene)

    expected = Reason.API_UNAVAILABLE if silent else Reason.LIFECYCLE_FAILED
    assert (failed.value.reason, failed.value.transient) == (expected, True)
    assert (failed.value.message == "Service apps/web does not answer") is not silent


async def test_a_short_timeout_leaves_time_to_tell_them_apart() -> None:
    scene, cluster = on(200)
    await once({"http": HTTP}, on=scene, seconds=4.0)
    assert cluster.seconds == 3.0


@pytest.mark.parametrize("code", [400, 404, 409, 422])
async def test_what_only_the_service_can_say_is_its_answer(code: int) -> None:
    scene, _ = on(code, status("secret page"))

    with pytest.raises(LifecycleError, match=f"^Service apps/web answers {code}$"):
        await once({"http": HTTP}, on=scene)


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (503, 'no endpoints available for service "http:web:8080"', "Service apps/web has no pod that is ready"),
        (503, 'no service port 8080 found for service "web"', "Service apps/web has no port 8080"),
        (
            503,
            "error trying to reach service: dial tcp 192.0.2.2:38109: connect: connection refused",
            "Service apps/web cannot be reached: connection refused",
        ),
        (
            503,
            'error trying to reach service: malformed HTTP response "secret page"',
            "Service apps/web cannot be reached",
        ),
        (404, 'services "web" not found', "Service apps/web does not exist"),
    ],
)
async def test_http_says_why_a_service_cannot_be_called(code: int, said: str, expected: str) -> None:
    scene, _ = on(code, status(said))

    with pytest.raises(LifecycleError) as failed:
        await once({"http": HTTP}, on=scene)

    assert failed.value.message == expected
    assert failed.value.reason is Reason.LIFECYCLE_FAILED, "a validation that fails for this counts"


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (404, 'services "web" not found', "Service apps/web does not exist"),
        (503, 'no service port 8080 found for service "web"', "Service apps/web has no port 8080"),
    ],
)
async def test_http_names_a_service_that_is_missing(status: int, answer: str, expected: str) -> None:
    scene, _ = on(status, json.dumps({"kind": "Status", "apiVersion": "v1", "message": answer}).encode())

    with pytest.raises(LifecycleError, match=expected) as failed:
        await once({"http": HTTP}, on=scene)

    assert failed.value.hint == "Correct service, port or namespace: kubectl --namespace apps get services"


async def test_metric() -> None:
    scene, cluster = on(200, samples("2"))

    done = await once({"metric": METRIC}, on=scene)

    assert done.message == "The value is 2"
    assert cluster.asked == [
        ("/api/v1/namespaces/monitoring/services/http:prometheus:web/proxy/api/v1/query", {"query": "sum(up)"})
    ]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, samples("0"), "value >= 1.0 is false: the value is 0"),
        (200, samples(), "The query has no value"),
        (200, samples("1", "2"), "The query has 2 values"),
        (200, samples("NaN"), "The value is nan"),
        (200, b"<html>", "Service monitoring/prometheus does not answer like Prometheus"),
        (400, b"parse error", "Service monitoring/prometheus answers 400 to the query"),
    ],
    ids=str,
)
async def test_metric_fails(status: int, body: bytes, expected: str) -> None:
    scene, _ = on(status, body)

    with pytest.raises(LifecycleError) as failed:
        await once({"metric": METRIC}, on=scene)

    assert failed.value.message.startswith(expected)


OUTSIDE = {"url": "https://thanos.example.com/team/", "query": "sum(up)", "expr": "value >= 1.0"}


@pytest.mark.parametrize("foreign", [False, True])
async def test_metric_asks_a_server_outside_of_the_cluster(*, foreign: bool) -> None:
    """For a profile with an account as well: what it names comes from an administrator."""
    scene = bench()
    scene.extras.metrics = MetricAnswer(200, samples("2").decode())

    done = await once({"metric": OUTSIDE}, on=scene, foreign=foreign)

    assert done.message == "The value is 2"
    assert scene.extras.asked == [("https://thanos.example.com/team/", "sum(up)")]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (MetricAnswer(200, samples("0").decode()), "value >= 1.0 is false: the value is 0"),
        (MetricAnswer(302, ""), "https://thanos.example.com/team answers 302 to the query"),
        (MetricAnswer(200, "secret page"), "https://thanos.example.com/team does not answer like Prometheus"),
        (MetricAnswer(401, "secret page"), "https://thanos.example.com/team answers 401 to the query"),
        (LifecycleError("It is not allowed"), "It is not allowed"),
    ],
    ids=str,
)
async def test_metric_outside_fails(answer: MetricAnswer | LifecycleError, expected: str) -> None:
    scene = bench()
    scene.extras.metrics = answer

    with pytest.raises(LifecycleError) as failed:
        await once({"metric": OUTSIDE}, on=scene)

    assert failed.value.message == expected


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"query": "up", "expr": "true"}, "set exactly one of service and url"),
        ({**METRIC, "url": "https://thanos.example.com"}, "set exactly one of service and url"),
        ({**OUTSIDE, "port": "80"}, "namespace, port and scheme go with service"),
        ({**OUTSIDE, "namespace": "a"}, "namespace, port and scheme go with service"),
        ({**OUTSIDE, "scheme": "https"}, "namespace, port and scheme go with service"),
        ({key: value for key, value in METRIC.items() if key != "port"}, "service needs a port"),
        (
            {**OUTSIDE, "url": "https://a:b@thanos.example.com"},
            "metric.url: it has a login; write it like https://thanos",
        ),
        ({**OUTSIDE, "url": "https://thanos.example.com?a=b"}, "metric.url: it has a query or a fragment"),
        ({**OUTSIDE, "url": "https://thanos.example.com/../b"}, 'metric.url: its path has ".."'),
        ({**OUTSIDE, "url": "file:///etc/passwd"}, "metric.url: String should match pattern"),
    ],
    ids=str,
)
async def test_metric_has_one_server(fields: dict[str, str], problem: str) -> None:
    with pytest.raises(SpecError) as refused:
        await once({"metric": fields}, on=bench())

    assert refused.value.reason is Reason.LIFECYCLE_INVALID
    assert problem in refused.value.message


@pytest.mark.parametrize(
    "path", ["/..", "/a/../b", "/%2e%2e/%2E./nodes", "/a/./b", "/..\\..", "/%2e%2e%2fnodes", "/a#b"]
)
async def test_a_path_stays_within_the_service(path: str) -> None:
    """The client resolves dots, also escaped ones: the API server itself would be asked for /api/v1/nodes, say."""
    scene, cluster = on(200)

    with pytest.raises(SpecError, match=r"path: write it without"):
        await once({"http": {**HTTP, "path": path}}, on=scene)

    assert cluster.asked == []


async def test_dots_in_a_query_or_a_name_are_no_steps() -> None:
    scene, cluster = on(200)

    await once({"http": {**HTTP, "path": "/..data/a...b?from=../x"}}, on=scene)

    assert cluster.asked == [("/api/v1/namespaces/apps/services/http:web:8080/proxy/..data/a...b", {"from": "../x"})]


async def test_a_namespace_is_one_step() -> None:
    scene, cluster = on(200)

    with pytest.raises(KubeError, match=r"the namespace may not be '\.\.'"):
        await once({"http": {**HTTP, "namespace": ".."}}, on=scene)

    assert cluster.asked == []
