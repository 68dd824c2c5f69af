"""What the API server answers to an action is told in words, whichever verb it is."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.api.status import Phase
from managedchart_operator.errors import HelmError, KubeError, LifecycleError
from managedchart_operator.kube.answers import error_of
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.grants import grant_command
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.objects import Objects
from managedchart_operator.kube.permissions import Permission
from managedchart_operator.lifecycle.actions.api_errors import worded
from managedchart_operator.lifecycle.actions.envelope import OnError
from managedchart_operator.lifecycle.actions.reading import read_actions
from managedchart_operator.lifecycle.actions.registry import VERBS, verb_of
from managedchart_operator.lifecycle.actions.running import BoundAction, run_actions
from managedchart_operator.lifecycle.context import HelmTests, PhaseContext
from managedchart_operator.reasons import Reason
from unit.lifecycle.fakes import bench
from unit.test_lifecycles_page import PAGE, VERB_SECTIONS

ACCOUNT = Identity("apps", "deployer")
USER = "system:serviceaccount:apps:deployer"
CLUSTER_WIDE = {"Node", "StorageClass", "CustomResourceDefinition", "ClusterRole"}
PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/[^/]+(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<resource>[^/]+)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+))?)?.*"
)
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {"group": "example.com", "versions": []},
}


def plural(kind: str) -> str:
    return kind.lower() + ("es" if kind.endswith("s") else "s")


class Refusing(FakeApiServer):
    """An API server that serves all kinds, and refuses each request for an object in its usual words."""

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/selfsubjectaccessreviews"):
            return web.json_response({"status": {"allowed": False}})
        found = PATH.fullmatch(request.path)
        if found is None:
            return web.json_response({"resources": [served(kind) for kind in kinds()]})
        method = {"PATCH": "patch", "DELETE": "delete", "POST": "create"}.get(request.method)
        verb = method or ("get" if found["name"] else "watch" if "watch" in request.query else "list")
        return web.json_response(refusal(lacking(verb, found), 403), status=403)


def kinds() -> set[str]:
    return {"Job", "Secret", "Pod", *re.findall(r"kind: (\w+)", PAGE)}


def served(kind: str) -> dict[str, Any]:
    return {"kind": kind, "name": plural(kind), "namespaced": kind not in CLUSTER_WIDE}


def lacking(verb: str, found: re.Match[str]) -> str:
    resource = found["resource"] + (f"/{found['sub']}" if found["sub"] else "")
    where = f'in the namespace "{found["namespace"]}"' if found["namespace"] else "at the cluster scope"
    return (
        f'{found["resource"]} "{found["name"] or ""}" is forbidden: User "{USER}" cannot {verb} resource "{resource}"'
        f' in API group "{found["group"] or ""}" {where}'
    )


@pytest.fixture
async def refusing(tmp_path: Path) -> AsyncIterator[PhaseContext]:
    """A context whose API server refuses everything."""
    async with Refusing().running() as api:
        client = await KubeClient.connect(kubeconfig=api.kubeconfig(tmp_path / "kubeconfig"))
        try:
            scene = bench()
            scene.extras.of_chart = [CRD]
            text = f'pods is forbidden: User "{USER}" cannot create resource "pods" in API group "" in the namespace "apps"'
            error = HelmError("no", reason=Reason.FORBIDDEN, transient=True, text=text)
            scene.extras.tests = HelmTests(error=error)
            yield replace(scene.context, cluster=Objects(client.acting_as(ACCOUNT)))
        finally:
            await client.close()


@pytest.mark.parametrize("verb", VERBS)
async def test_every_verb_says_who_lacks_which_permission(verb: str, refusing: PhaseContext) -> None:
    """With the example of docs/lifecycles.md, which every verb has."""
    (example,) = re.findall(r"^```yaml\n(.*?)^```", VERB_SECTIONS[verb], re.DOTALL | re.MULTILINE)
    actions = [each for each in await read_actions(yaml.safe_load(example)) if verb_of(each).verb == verb]
    action = actions[0].model_copy(update={"when": None, "retries": 0, "on_error": OnError.FAIL})

    with pytest.raises(LifecycleError) as failed:
        await run_actions([BoundAction(action)], Phase(action.phase.value), refusing, {})

    error = failed.value
    lacks = rf"User {USER} has no permission to (\w+) ([\w./]+) (in namespace \S+|cluster-wide)"
    found = re.fullmatch(rf"Action {action.name} \({verb}\) failed: {lacks}", error.message)
    assert found, error.message
    assert (error.reason, error.transient) == (Reason.FORBIDDEN, True)
    assert error.hint is not None
    granted = re.search(r"--verb=(\S+) --resource=(\S+)", error.hint)
    assert granted
    assert found[1] in granted[1].split(",")
    assert granted[2] == found[2]
    assert "--serviceaccount=apps:deployer" in error.hint


@pytest.mark.parametrize(
    ("verb", "granted"),
    [
        ({"exists": {"kind": "Secret", "name": "a"}}, "get"),
        ({"exists": {"kind": "Secret"}}, "get,list"),
        ({"waitFor": {"kind": "Pod", "name": "a", "deleted": True}}, "list,watch"),
        ({"restart": {"kind": "Deployment", "name": "a"}}, "get,patch"),
        ({"label": {"kind": "Pod", "name": "a", "labels": {"a": "b"}}}, "get,patch"),
        ({"backup": {"objects": [{"kind": "Deployment", "name": "a"}]}}, "get"),
        ({"job": {"image": "a"}}, "get"),
        ({"http": {"service": "a", "port": "80"}}, "get"),
    ],
    ids=str,
)
async def test_no_more_is_granted_than_the_action_needs(
    verb: dict[str, Any], granted: str, refusing: PhaseContext
) -> None:
    (action,) = await read_actions([{"name": "it", "phase": "PostExec", **verb}])

    with pytest.raises(LifecycleError) as failed:
        await run_actions([BoundAction(action)], Phase.POST_EXEC, refusing, {})

    assert f"--verb={granted} " in (failed.value.hint or "")


async def test_the_account_of_a_profile_is_named(refusing: PhaseContext) -> None:
    (action,) = await read_actions([{"name": "it", "phase": "PostExec", "exists": {"kind": "Secret"}}])

    with pytest.raises(LifecycleError) as failed:
        await run_actions([BoundAction(action, "profile/p", ACCOUNT)], Phase.POST_EXEC, refusing, {})

    assert failed.value.message == (
        f"Action it (exists) of profile/p failed: User {USER} has no permission to list secrets in namespace apps"
    )


def refused(status: int, message: str, path: str = "/apis/apps/v1/namespaces/apps/deployments/web") -> KubeError:
    return error_of(status, json.dumps(refusal(message, status)).encode(), method="GET", path=path)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (refused(404, 'deployments.apps "web" not found'), "Deployments apps/web does not exist"),
        (
            refused(404, "the server could not find the requested resource"),
            "The API server does not serve deployments of apps/v1",
        ),
        (refused(422, "Deployment is strange"), "The API server refuses deployments apps/web: Deployment is strange"),
        (
            refused(403, "<html>a proxy</html>", "/api/v1/nodes"),
            "The API server refuses nodes: <html>a proxy</html>",
        ),
        (
            refused(503, "no healthy upstream"),
            "The API server answers 503 for deployments apps/web: no healthy upstream",
        ),
        (
            refused(409, "Operation cannot be fulfilled on web: modified"),
            "The Kubernetes API server could not carry out a request: Operation cannot be fulfilled on web: modified",
        ),
        (
            refused(422, 'Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must not be negative'),
            "Deployments apps/web: spec.replicas: must not be negative",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value.status,
)
def test_other_refusals_name_the_object_and_not_the_request(error: KubeError, message: str) -> None:
    assert worded(error, lambda text: text).message == message


def test_secrets_are_removed_from_what_the_api_server_repeats() -> None:
    error = refused(400, "cannot read hunter2")

    assert "hunter2" not in worded(error, lambda text: text.replace("hunter2", "***")).message


@pytest.mark.parametrize(
    ("user", "permission", "parts"),
    [
        (USER, Permission("get", "scale", "apps", "x"), ("create role managedchart:apps:deployer ", "--namespace=x ")),
        (USER, Permission("get", "nodes"), ("create clusterrole ", "--clusterrole=managedchart:apps:deployer ")),
        ("a b;rm", Permission("get", "nodes"), ("--user='a b;rm'", "clusterrole managedchart:a-b-rm ")),
        (USER, Permission("get", "pods/log", "", "x"), ("--resource=pods/log ",)),
        (USER, Permission("get", "jobs/status", "batch", "x"), ("--resource=jobs.batch/status ",)),
    ],
)
def test_a_command_grants_to_one_user(user: str, permission: Permission, parts: tuple[str, ...]) -> None:
    command = grant_command(user, permission, ["get"])

    assert [part for part in parts if part not in command] == []
    assert command.endswith("| kubectl auth reconcile -f -")
