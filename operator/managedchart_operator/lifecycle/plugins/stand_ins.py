"""What a plug-in sees of the operator: stand-ins that pass each call on, so that the operator itself carries it out.

They have what docs/plugins.md lists under "What a phase gets", and nothing else: neither the connection to the API server nor
its credentials are in the process of a plug-in.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from managedchart_operator.api.resource import Key, ManagedChart
from managedchart_operator.api.spec import Action, ManagedChartSpec
from managedchart_operator.api.status import FailedContainer, FailureEvent
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.egress.metrics import MetricAnswer
from managedchart_operator.kube.coming_kinds import ComingKinds
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.lifecycle.context import (
    ChartCrds,
    HelmTests,
    InstalledRelease,
    Operation,
    PhaseContext,
    Recorder,
)
from managedchart_operator.lifecycle.plugins import wire
from managedchart_operator.lifecycle.plugins.channel import Channel


class RemoteRelease:
    """Implements `lifecycle.context.Release`."""

    def __init__(self, channel: Channel, name: str, namespace: str) -> None:
        self._channel, self.name, self.namespace = channel, name, namespace

    async def check_inputs(self) -> None:
        """Read the chart and all values."""
        await self._channel.call("release.check_inputs")

    async def check_namespace(self) -> None:
        """Check the target namespace."""
        await self._channel.call("release.check_namespace")

    async def chart_version(self) -> str:
        """Return the version of the chart that is to be deployed."""
        return cast("str", await self._channel.call("release.chart_version"))

    async def installed(self) -> InstalledRelease | None:
        """Return what is installed now."""
        found = await self._channel.call("release.installed")
        return InstalledRelease(**found) if found else None

    async def deployed_here(self) -> bool:
        """Whether this ManagedChart has ever deployed the release."""
        return cast("bool", await self._channel.call("release.deployed_here"))

    async def chart_crds(self) -> ChartCrds:
        """Return the CRDs of the installed chart."""
        found = await self._channel.call("release.chart_crds")
        return ChartCrds(frozenset(found["names"]), found["incomplete"])

    async def upgrade(self, *, take_ownership: bool = False) -> str:
        """Install or upgrade."""
        return cast("str", await self._channel.call("release.upgrade", take_ownership=take_ownership))

    async def resume(self) -> None:
        """Wait for what an earlier run deployed."""
        await self._channel.call("release.resume")

    async def uninstall(self) -> bool:
        """Uninstall."""
        return cast("bool", await self._channel.call("release.uninstall"))

    async def manifest(self) -> list[dict[str, Any]]:
        """Return the objects that the chart renders."""
        return cast("list[dict[str, Any]]", await self._channel.call("release.manifest"))

    def redactor(self, objects: Sequence[dict[str, Any]]) -> Callable[[str], str]:
        """Return what removes the secrets of the run, and of these objects, from a text; the operator keeps the secrets."""
        number = self._channel.ask("release.redactor", list(objects))
        return lambda text: cast("str", self._channel.ask("redact", number, text))

    async def collect_evidence(self) -> Findings:
        """Return the evidence of why the release does not become ready."""
        found = await self._channel.call("release.collect_evidence")
        return NumberedFindings(
            [FailureEvent.model_validate(each) for each in found["events"]],
            [FailedContainer.model_validate(each) for each in found["containers"]],
            detail=found["detail"],
            incomplete=found["incomplete"],
            number=found["number"],
        )


@dataclass(frozen=True)
class NumberedFindings(Findings):
    """Findings of the operator, which keeps their cause; also with other details or events."""

    number: int | None = None


class RemoteCluster:
    """The part of `kube.objects.Objects` that plug-ins may use."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        """Return the object, or None."""
        return cast("dict[str, Any] | None", await self._channel.call("cluster.get", _wire(ref)))

    async def list(
        self,
        api_version: str,
        kind: str,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> list[dict[str, Any]]:
        """Return the objects of a kind."""
        options = {"namespace": namespace, "labels": labels, "fields": fields, "metadata_only": metadata_only}
        given = {name: value for name, value in options.items() if value}
        found = await self._channel.call("cluster.list", api_version, kind, **given)
        return cast("list[dict[str, Any]]", found)

    async def merge_patch(self, ref: ObjectRef, patch: Mapping[str, Any]) -> dict[str, Any] | None:
        """Merge a patch into the object and return it; None if it does not exist."""
        return cast("dict[str, Any] | None", await self._channel.call("cluster.merge_patch", _wire(ref), dict(patch)))

    async def try_apply(self, ref: ObjectRef, body: Mapping[str, Any], *, force: bool = True) -> None:
        """Let the API server validate a server-side apply, as a dry run."""
        await self._channel.call("cluster.try_apply", _wire(ref), dict(body), force=force)

    async def delete(self, ref: ObjectRef) -> bool:
        """Delete the object; False if it does not exist."""
        return cast("bool", await self._channel.call("cluster.delete", _wire(ref)))

    async def namespaced(self, api_version: str, kind: str) -> bool:
        """Whether objects of this kind live in a namespace."""
        return cast("bool", await self._channel.call("cluster.namespaced", api_version, kind))

    async def served_version(self, api_version: str, kind: str) -> str | None:
        """Return under which apiVersion the cluster serves objects of a kind now."""
        return cast("str | None", await self._channel.call("cluster.served_version", api_version, kind))

    async def locate(self, rendered: Mapping[str, Any], default_namespace: str) -> ObjectRef:
        """Return where the API server has a rendered object."""
        return ObjectRef(**await self._channel.call("cluster.locate", dict(rendered), default_namespace))

    async def locate_all(
        self, rendered: Iterable[Mapping[str, Any]], default_namespace: str, *, strict: bool = False
    ) -> Sequence[ObjectRef]:
        """Return where the API server has the rendered objects."""
        items = [dict(each) for each in rendered]
        found = await self._channel.call("cluster.locate_all", items, default_namespace, strict=strict)
        return [ObjectRef(**each) for each in found]

    async def resolve(self, ref: ObjectRef) -> ObjectRef:
        """Return a reference without its namespace if its kind has none."""
        return ObjectRef(**await self._channel.call("cluster.resolve", _wire(ref)))


class RemoteRecorder:
    """The part of `lifecycle.context.Recorder` that plug-ins may use."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def warn(self, reason: str, message: str) -> None:
        """Write a Warning Event."""
        self._channel.tell("recorder.warn", str(reason), str(message))

    def evidence(self, findings: Findings) -> None:
        """Record the evidence of a failure."""
        own = {
            "number": getattr(findings, "number", None),
            "events": [each.model_dump(mode="json", by_alias=True) for each in findings.events],
            "containers": [each.model_dump(mode="json", by_alias=True) for each in findings.containers],
            "detail": findings.detail,
            "incomplete": findings.incomplete,
        }
        self._channel.tell("recorder.evidence", own)


class RemoteFacts:
    """Implements `lifecycle.context.RunFacts`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    @property
    def stamp(self) -> str:
        """Identifies the newest revision."""
        return cast("str", self._channel.ask("facts.stamp"))

    @property
    def replaced_stamp(self) -> str:
        """Identifies the newest revision that was deployed."""
        return cast("str", self._channel.ask("facts.replaced_stamp"))

    async def replaced_version(self) -> str | None:
        """Return the version of the chart before this run."""
        return cast("str | None", await self._channel.call("facts.replaced_version"))

    async def chart_objects(self, pattern: str, *, most_bytes: int, most_objects: int) -> list[dict[str, Any]]:
        """Return the objects in the chart's files."""
        options = {"most_bytes": most_bytes, "most_objects": most_objects}
        return cast("list[dict[str, Any]]", await self._channel.call("facts.chart_objects", pattern, **options))


class RemoteExtras:
    """Implements `lifecycle.context.ReleaseExtras`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.coming = ComingKinds()

    async def crds(self) -> list[dict[str, Any]]:
        """Return the CRDs of the chart that this run deploys."""
        return cast("list[dict[str, Any]]", await self._channel.call("extras.crds"))

    async def installed_crds(self) -> ChartCrds | None:
        """Return the CRDs of the installed chart."""
        found = await self._channel.call("extras.installed_crds")
        return ChartCrds(frozenset(found["names"]), found["incomplete"]) if found else None

    async def kinds_changed(self) -> None:
        """Make the next Helm process ask which kinds the cluster serves."""
        await self._channel.call("extras.kinds_changed")

    async def query_metrics(self, url: str, query: str) -> MetricAnswer:
        """Ask a server outside of the cluster."""
        found = await self._channel.call("extras.query_metrics", url, query)
        return MetricAnswer(found["status"], found["body"])

    async def test(self, *, only: Sequence[str], exclude: Sequence[str], seconds: float) -> HelmTests:
        """Run the tests of the release."""
        found = await self._channel.call("extras.test", only=list(only), exclude=list(exclude), seconds=seconds)
        logs = {(pod, container): text for pod, container, text in found["logs"]}
        error = found["error"] and wire.error_of_operator(found["error"])
        return HelmTests(found["passed"], found["failed"], logs, error)


class RemoteLog(logging.Handler):
    """Sends what a plug-in and its libraries log to the operator's log."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        try:
            self._channel.tell("log", record.levelno, self.format(record))
        except Exception:  # noqa: BLE001 -- as every handler
            self.handleError(record)


def context_of(channel: Channel, sent: Mapping[str, Any]) -> PhaseContext:
    """Return the context of a phase from what the operator has sent."""
    chart = sent["chart"]
    return PhaseContext(
        spec=ManagedChartSpec.model_validate(sent["spec"]),
        action=Action(sent["action"]),
        operation=Operation(sent["operation"]),
        release=RemoteRelease(channel, sent["release"]["name"], sent["release"]["namespace"]),
        cluster=cast("Objects", RemoteCluster(channel)),
        recorder=cast("Recorder", RemoteRecorder(channel)),
        logger=logging.LoggerAdapter(logging.getLogger("plugin"), {}),
        chart=ManagedChart(**{**chart, "key": Key(**chart["key"]), "finalizers": tuple(chart["finalizers"])}),
        facts=RemoteFacts(channel),
        extras=RemoteExtras(channel),
    )


def _wire(ref: ObjectRef) -> dict[str, str]:
    return asdict(ref)
