"""`metric`: the value of a PromQL query fulfils a CEL expression.

Prometheus, or what speaks its API, is a Service that is called through the API server: the permissions of the action's identity
decide which one it may ask. Or it is a server outside of the cluster: then the operator itself asks, and an administrator
decides which ones there are (`egress.metrics`).
Source: Prometheus documentation, "HTTP API", instant queries.
"""

import json
import math
from collections.abc import Iterator
from typing import ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from managedchart_operator.api.schema import rules
from managedchart_operator.egress.metrics import EXAMPLE, address
from managedchart_operator.errors import UNREADABLE, LifecycleError
from managedchart_operator.kube.service_proxy import MOST_BYTES
from managedchart_operator.lifecycle.actions import expressions
from managedchart_operator.lifecycle.actions.envelope import CelText
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.lifecycle.actions.services import Port, ServiceName, ServiceRef
from managedchart_operator.lifecycle.actions.verb import Done, Expression, TenantData, Verb

_OK = 200
ONE_SERVER = "set exactly one of service and url"
PORT_WITH_SERVICE = "service needs a port, and namespace, port and scheme go with service"


class Metric(Verb):
    """Checks the value of a PromQL query with a CEL expression."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.service) != has(self.url)", ONE_SERVER),
            (
                "has(self.service) ? has(self.port) : !has(self.port) && !has(self.namespace) && !has(self.scheme)",
                PORT_WITH_SERVICE,
            ),
        )
    )

    verb: ClassVar[str] = "metric"
    writes: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("get services/proxy",)

    service: ServiceName | None = None
    """Name of the Service of Prometheus."""
    namespace: str | None = Field(default=None, min_length=1, max_length=63)
    """Namespace of the Service; default the release's."""
    port: Port | None = None
    """Port of the Service, by name or number."""
    scheme: Literal["http", "https"] | None = None
    """http or https, default http; of https the API server does not check the certificate."""
    url: str | None = Field(default=None, max_length=512, pattern=r"^https?://[!-~]+$")
    """Address of a server outside of the cluster, instead of a Service; one that an administrator allows."""
    query: str = Field(min_length=1, max_length=2048)
    """PromQL with one value as its result; sum() or max() make one of several."""
    expr: CelText
    """CEL expression over value (a number), release, spec and payload."""

    @model_validator(mode="after")
    def _one_server(self) -> Self:
        if (self.service is None) == (self.url is None):
            raise ValueError(ONE_SERVER)
        of_service = (self.port, self.namespace, self.scheme)
        if self.service is not None and self.port is None:
            raise ValueError(PORT_WITH_SERVICE)
        if self.service is None and any(each is not None for each in of_service):
            raise ValueError(PORT_WITH_SERVICE)
        return self

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with its address."""
        if self.url is not None:
            try:
                address(self.url)
            except ValueError as error:
                yield f"url: {error}; write it like {EXAMPLE}"

    def tenant_data(self) -> TenantData | None:
        """Return None: the server, the query and the answer are not of the tenant."""
        return None

    def calls(self) -> Iterator[str]:
        """Yield its address."""
        if self.url is not None:
            yield self.url

    def expressions(self) -> Iterator[Expression]:
        """Yield its expression."""
        yield Expression("metric.expr", self.expr, ("value", "release", "spec", "payload"))

    async def run(self, scene: Scene) -> Done:
        """Ask once. Raises LifecycleError, KubeError."""
        where, status, body = await self._answer(scene)
        if status != _OK:
            raise LifecycleError(f"{where} answers {status} to the query", hint="Try the query in Prometheus itself.")
        value = _value(body, where)
        (expression,) = self.expressions()
        if not await expressions.holds(expression, {**scene.variables, "value": value}):
            raise LifecycleError(f"{self.expr} is false: the value is {value:g}")
        return Done(f"The value is {value:g}")

    async def _answer(self, scene: Scene) -> tuple[str, int, str | bytes]:
        """Return who was asked, the status and the body of the answer. Raises LifecycleError, KubeError."""
        if self.url is not None:
            found = await scene.context.extras.query_metrics(self.url, self.query)
            return str(address(self.url)), found.status, found.body
        of_service = {"service": self.service, "namespace": self.namespace, "port": self.port}
        server = ServiceRef.model_validate({**of_service, "scheme": self.scheme or "http"})
        answer = await server.call(scene, "/api/v1/query", query={"query": self.query})
        where = f"Service {self.namespace or scene.namespace}/{self.service}"
        if answer.cut_off:
            size = f"{MOST_BYTES >> 10} KiB"
            raise LifecycleError(f"{where} answers with more than {size}", hint="Make one value by sum() or max().")
        return where, answer.status, answer.body


def _value(body: str | bytes, where: str) -> float:
    """Return the one value of an answer. Raises LifecycleError."""
    try:
        data = json.loads(body)["data"]
        kind, result = data["resultType"], data["result"]
        samples = [result] if kind == "scalar" else [each["value"] for each in result]
        values = [float(sample[1]) for sample in samples]
    except UNREADABLE as error:
        raise LifecycleError(f"{where} does not answer like Prometheus") from error
    if not values:
        raise LifecycleError("The query has no value", hint="Append `or vector(0)` where nothing means zero.")
    if len(values) > 1:
        raise LifecycleError(
            f"The query has {len(values)} values", transient=False, hint="Make one of them by sum(), max() or a label."
        )
    if not math.isfinite(values[0]):
        raise LifecycleError(f"The value is {values[0]}")
    return values[0]
