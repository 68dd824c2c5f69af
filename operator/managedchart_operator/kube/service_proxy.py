"""Calls a Service through the API server, as the identity whose permissions count (`get` on services/proxy).

It works wherever the operator runs, also outside of the cluster, and no address is called by the operator itself: the API
server dials only addresses of pods in the namespace of the Service (measured with 1.37: an EndpointSlice that names anything
else is skipped), so a Service cannot lead to a metadata server or into another network.
Source: Kubernetes documentation, "Access Services Running on Clusters".
"""

import json
import re
from collections.abc import Mapping
from functools import partial
from urllib.parse import quote

from managedchart_operator.errors import UNREADABLE, KubeError
from managedchart_operator.kube.answers import error_of, unavailable
from managedchart_operator.kube.client import Relayed
from managedchart_operator.kube.discovery import quoted, segment_problem
from managedchart_operator.kube.objects import Objects
from managedchart_operator.kube.permissions import Permission, is_allowed, missing_in
from managedchart_operator.reasons import Reason

# Health pages and answers of Prometheus have some hundred bytes.
MOST_BYTES = 256 * 1024
# What the API server says about the way to a Service, in a Status object.
# Source: k8s.io/kubernetes pkg/registry/core/service/storage, ResourceLocation; read from 1.37.
_ABOUT_THE_WAY = re.compile(
    r'services "[^"]+" not found|no service port \S+ found for service|no endpoints available for service'
    r"|error trying to reach service"
)
_FORBIDDEN = 403
# Whoever is called may send the same, if it is an API server itself.
_OF_EITHER = frozenset({401, 429})
_SERVER_ERROR = 500


async def call_service(
    objects: Objects,
    *,
    namespace: str,
    service: str,
    port: int | str,
    path: str,
    seconds: float,
    scheme: str = "http",
    query: Mapping[str, str] | None = None,
    repeated: bool = False,
) -> Relayed:
    """GET a path of a Service. Raises KubeError if the API server refuses, has no such Service, or cannot reach a pod of it.

    What the Service itself refuses is its answer, also in the form of the API server's own refusals. `repeated` says that such
    a one is the second one in a row.
    """
    if problem := segment_problem(namespace):
        text = f"Service {namespace}/{service}: the namespace {problem}"
        raise KubeError(text, reason=Reason.OBJECT_INVALID, transient=False, status=422)
    named = f"{scheme}:{quote(service, safe='')}:{quote(str(port), safe='')}"
    where = f"/api/v1/namespaces/{quoted(namespace)}/services/{named}/proxy{quote(path, safe='/%')}"
    permission = Permission("get", "services/proxy", "", namespace)
    may_call = partial(is_allowed, objects.client, permission, name=f"{scheme}:{service}:{port}")
    try:
        answer = await objects.client.call_through(where, query=query, seconds=seconds, most=MOST_BYTES)
    except KubeError as error:
        # Also for a Service that never answers, or closes the connection in the middle of its answer.
        await may_call()
        text = f"Service {namespace}/{service} does not answer"
        raise KubeError(text, reason=Reason.LIFECYCLE_FAILED, transient=True, status=0) from error
    if (said := _status_message(answer)) is None or answer.api_servers > 1:
        return answer
    if answer.status == _FORBIDDEN:
        # An aggregated API or a webhook forbids in the same words. What this user may not do was not passed on.
        if await may_call():
            missing = missing_in(said)
            if repeated or missing is None or missing.permission != permission:
                return answer
            # An API server that has just started refuses everybody for a moment.
            return await call_service(
                objects,
                namespace=namespace,
                service=service,
                port=port,
                path=path,
                seconds=seconds,
                scheme=scheme,
                query=query,
                repeated=True,
            )
        raise error_of(answer.status, answer.body, method="GET", path=where)
    if not _ABOUT_THE_WAY.match(said):
        if answer.status in _OF_EITHER or answer.status >= _SERVER_ERROR:
            # A validation without an answer of the API server does not count, so a Service must not be able to feign that.
            try:
                await may_call()
            except KubeError as error:
                text = f"The API server, or Service {namespace}/{service} behind it, answers {answer.status}"
                raise unavailable(text) from error
        return answer
    # The Service may send the same words, and others after them: neither an outage nor a missing permission follows from them.
    text = f"GET {where} returned {answer.status}: {said}"
    raise KubeError(text, reason=Reason.LIFECYCLE_FAILED, transient=True, status=answer.status, answer=said, path=where)


def _status_message(answer: Relayed) -> str | None:
    """Return the message of a Status object, which the API server sends as its own error; None for another answer."""
    if answer.status < 400:
        return None
    try:
        document = json.loads(answer.body)
        is_status = document["kind"] == "Status" and document["apiVersion"] == "v1"
    except UNREADABLE:
        return None
    return str(document.get("message") or "") if is_status else None
