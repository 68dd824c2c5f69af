"""The CRDs of the cluster: requests, refusals, and when their kinds can be used."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.errors import KubeError
from managedchart_operator.kube import cluster_crds
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.cluster_crds import COLLECTION, ClusterCrds, kinds_of
from managedchart_operator.reasons import Reason

NAME = "widgets.example.com"
PATH = f"{COLLECTION}/{NAME}"
FORBIDDEN = (
    'customresourcedefinitions.apiextensions.k8s.io "widgets.example.com" is forbidden: User "system:serviceaccount:a:b" '
    'cannot get resource "customresourcedefinitions" in API group "apiextensions.k8s.io" at the cluster scope'
)


def crd(*conditions: dict[str, str], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME, "resourceVersion": "7", **metadata},
        "spec": {
            "group": "example.com",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [{"name": "v1", "served": True}, {"name": "v0", "served": False}],
        },
        "status": {"conditions": list(conditions) or None},
    }


ESTABLISHED = {"type": "Established", "status": "True"}


def discovery(*kinds: str) -> dict[str, Any]:
    resources = [{"responseKind": {"kind": kind}} for kind in kinds]
    return {"items": [{"metadata": {"name": "example.com"}, "versions": [{"version": "v1", "resources": resources}]}]}


CORE = {"items": [{"metadata": {}, "versions": [{"version": "v1", "resources": [{"responseKind": {"kind": "Pod"}}]}]}]}


async def test_a_crd_is_created_as_helm_would(client: KubeClient, api: FakeApiServer) -> None:
    """Without force: a CRD that somebody else has created in the meantime is left to them."""
    api.answers["PATCH", PATH] = (201, crd())
    assert await ClusterCrds(client).create(crd()) == crd()
    assert await ClusterCrds(client).create(crd(), dry_run=True) == crd()
    queries = [query for _, _, query, _ in api.asked]
    assert queries[0] == {"fieldManager": "helm", "fieldValidation": "Strict"}
    assert queries[1] == {**queries[0], "dryRun": "All"}
    api.answers["PATCH", PATH] = (
        409,
        refusal('Apply failed with 1 conflict: conflict with "kubectl": .spec.versions', 409),
    )
    assert await ClusterCrds(client).create(crd()) is None


async def test_a_crd_is_replaced_as_it_was_read(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["PUT", PATH] = (200, crd())
    assert await ClusterCrds(client).replace(crd()) == crd()
    assert api.asked[0][3] == crd()
    api.answers["PUT", PATH] = (
        409,
        refusal("Operation cannot be fulfilled on crds: the object has been modified", 409),
    )
    with pytest.raises(KubeError) as raised:
        await ClusterCrds(client).replace(crd())
    assert (raised.value.status, raised.value.transient) == (409, True)


async def test_a_missing_crd_is_none(client: KubeClient, api: FakeApiServer) -> None:
    assert await ClusterCrds(client).metadata(NAME) is None
    assert await ClusterCrds(client).get(NAME) is None
    with pytest.raises(KubeError, match="was deleted while it was updated"):
        await ClusterCrds(client).replace(crd())


@pytest.mark.parametrize(
    ("work", "verb", "does"), [("get", "GET", "get"), ("create", "PATCH", "patch"), ("replace", "PUT", "update")]
)
async def test_a_missing_permission_is_named(
    client: KubeClient, api: FakeApiServer, work: str, verb: str, does: str
) -> None:
    """With what to grant, and the way without."""
    api.answers[verb, PATH] = (403, refusal(FORBIDDEN, 403))
    crds = ClusterCrds(client)
    with pytest.raises(KubeError) as raised:
        await getattr(crds, work)(NAME if work == "get" else crd())
    assert raised.value.reason is Reason.FORBIDDEN
    assert raised.value.message == f"The operator may not {does} the CRD {NAME}, which is in crds/ of the chart"
    assert raised.value.hint is not None
    assert "customresourcedefinitions" in raised.value.hint
    assert "spec.crds: Skip" in raised.value.hint


@pytest.mark.parametrize("name", ["..", "a/../../secrets", ""])
async def test_a_name_that_is_a_path_is_refused(client: KubeClient, api: FakeApiServer, name: str) -> None:
    with pytest.raises(KubeError) as raised:
        await ClusterCrds(client).get(name)
    assert raised.value.reason is Reason.OBJECT_INVALID
    assert api.asked == []


async def test_what_is_refused_names_the_crd(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["PATCH", PATH] = (
        422,
        refusal(f'CustomResourceDefinition "{NAME}" is invalid: spec.scope: Required value', 422),
    )
    with pytest.raises(KubeError) as raised:
        await ClusterCrds(client).create(crd())
    assert raised.value.reason is Reason.OBJECT_INVALID
    assert raised.value.message.startswith(f"The CRD {NAME}, which is in crds/ of the chart: CustomResourceDefinition")


async def test_new_kinds_are_waited_for(
    client: KubeClient, api: FakeApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the CRD is established, by a watch, and until discovery has it, which follows a little later."""
    monkeypatch.setattr(cluster_crds, "_POLL_SECONDS", 0)
    answers = iter([discovery(), discovery(), discovery("Widget")])

    async def watch(request: web.Request) -> web.StreamResponse:
        assert request.query["fieldSelector"] == f"metadata.name={NAME}"
        assert request.query["resourceVersion"] == "7"
        response = web.StreamResponse()
        await response.prepare(request)
        for found in (crd(), crd(ESTABLISHED, resourceVersion="8")):
            await response.write(json.dumps({"type": "MODIFIED", "object": found}).encode() + b"\n")
        await asyncio.Event().wait()
        return response

    async def groups(_: web.Request) -> web.Response:
        return web.json_response(next(answers))

    api.answers["GET", COLLECTION] = watch
    api.answers["GET", "/api"] = (200, CORE)
    api.answers["GET", "/apis"] = groups
    await ClusterCrds(client).until_served([crd()])
    assert next(answers, None) is None


async def test_names_that_are_taken_end_the_wait(client: KubeClient) -> None:
    taken = {
        "type": "NamesAccepted",
        "status": "False",
        "reason": "KindConflict",
        "message": '"Widget" is already in use',
    }
    with pytest.raises(KubeError, match='is not accepted: "Widget" is already in use'):
        await ClusterCrds(client).until_served([crd(taken)])


async def test_the_wait_has_an_end(client: KubeClient, api: FakeApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_crds, "ESTABLISH_SECONDS", 0.05)
    api.answers["GET", "/api"] = (200, CORE)
    api.answers["GET", "/apis"] = (200, discovery())
    with pytest.raises(KubeError, match=r"does not serve example\.com/v1/Widget after"):
        await ClusterCrds(client).until_served([crd(ESTABLISHED)])


async def test_what_the_cluster_serves_is_named_as_helm_does(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["GET", "/api"] = (200, CORE)
    api.answers["GET", "/apis"] = (200, discovery("Widget"))
    api.answers["GET", "/version"] = (200, {"gitVersion": "v1.37.2"})
    crds = ClusterCrds(client)
    assert await crds.api_versions() == {"v1", "v1/Pod", "example.com/v1", "example.com/v1/Widget"}
    assert await crds.kube_version() == "v1.37.2"
    assert kinds_of(crd()) == {"example.com/v1/Widget"}
