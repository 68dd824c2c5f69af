"""The Service that an action calls, as a part of its schema."""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from managedchart_operator.api.schema import ApiModel
from managedchart_operator.errors import KubeError, LifecycleError
from managedchart_operator.kube.client import Relayed
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.kube.service_proxy import call_service
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.lifecycle.actions.writing import refusals

# One call; the action's timeout and retries are around it.
_CALL_SECONDS = 20.0
# Of a short timeout, so that there is time to find out whether the API server answers where the Service does not.
_SHARE = 0.75
# The API server's words. For a port that is named it says the first also of a Service that does not exist or lacks the port.
_NO_PODS = "no endpoints available"
_NO_PORT = "no service port "
_NO_SERVICE = re.compile(r'services "[^"]*" not found')
_UNREACHED = "error trying to reach service: "
# Of the reasons why, those that repeat nothing that the Service has sent.
_WHY = re.compile(r"connection refused|connection reset by peer|no route to host|i/o timeout|EOF")

Path = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^/[!-~]*$")]
_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
ServiceName = Annotated[str, Field(min_length=1, max_length=63, pattern=_NAME)]
# As in a probe, where a number needs no quotes.
_PORT = {
    "x-kubernetes-int-or-string": True,
    "minLength": 1,
    "maxLength": 15,
    "pattern": _NAME,
    "minimum": 1,
    "maximum": 65535,
}
Port = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    Field(min_length=1, max_length=15, pattern=_NAME),
    WithJsonSchema(_PORT),
]


class ServiceRef(ApiModel):
    """A Service, which is called through the API server."""

    service: ServiceName
    """Name of the Service."""
    namespace: str | None = Field(default=None, min_length=1, max_length=63)
    """Namespace of the Service; default the release's."""
    port: Port
    """Port of the Service, by name or number."""
    scheme: Literal["http", "https"] = "http"
    """http or https; of https the API server does not check the certificate."""

    async def call(self, scene: Scene, path: str, *, query: dict[str, str] | None = None) -> Relayed:
        """GET a path of the Service. Raises KubeError, LifecycleError."""
        namespace = self.namespace or scene.namespace
        ref = ObjectRef("v1", "Service", self.service, namespace)
        try:
            with refusals(scene, ref):
                return await call_service(
                    scene.cluster,
                    namespace=namespace,
                    service=self.service,
                    port=self.port,
                    path=path,
                    seconds=min(_CALL_SECONDS, scene.seconds * _SHARE),
                    scheme=self.scheme,
                    query=query,
                )
        except LifecycleError as error:
            answer = error.__cause__.answer if isinstance(error.__cause__, KubeError) else ""
            if (found := self._about_the_way(ref, answer)) is None:
                raise
            raise found from error

    def _about_the_way(self, ref: ObjectRef, answer: str) -> LifecycleError | None:
        """Return why the API server has not reached the Service; None for another answer."""
        look = f"kubectl --namespace {ref.namespace} describe service {ref.name}"
        if _NO_PODS in answer:
            or_port = "" if self.port.isdigit() else f", or no port {self.port}"
            hint = f"See whether it exists and has the port and endpoints: {look}"
            return LifecycleError(f"{ref} has no pod that is ready{or_port}", hint=hint)
        if _NO_SERVICE.search(answer) or _NO_PORT in answer:
            what = f"has no port {self.port}" if _NO_PORT in answer else "does not exist"
            hint = f"Correct service, port or namespace: kubectl --namespace {ref.namespace} get services"
            return LifecycleError(f"{ref} {what}", hint=hint)
        if _UNREACHED in answer:
            why = _WHY.search(answer)
            hint = f"See whether the port is the one on which its pods listen: {look}"
            return LifecycleError(f"{ref} cannot be reached" + (f": {why[0]}" if why else ""), hint=hint)
        return None
