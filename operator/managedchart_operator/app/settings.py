"""The operator's settings, all from the environment; docs/settings.md lists them.

Each field is one variable with the prefix MANAGEDCHART_, like MANAGEDCHART_CHART_ROOTS='["/charts"]'; an empty one counts
as not set. They are read when `Settings` is made, never at import. KUBECONFIG has its usual meaning; without it the pod's
ServiceAccount is used.
"""

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from managedchart_operator.charts.confinement import PLACEHOLDER
from managedchart_operator.egress.addresses import parse_networks
from managedchart_operator.egress.metrics import MetricSources
from managedchart_operator.egress.sources import ChartSources
from managedchart_operator.helm.child_limits import (
    DEFAULT_MEMORY_BYTES,
    MIB,
    RENDER_SECONDS,
    SMALLEST_MEMORY_BYTES,
    ChildLimits,
)
from managedchart_operator.helm.limits import Limits
from managedchart_operator.helm.slots import applies_for, memory_needed, processes_for
from managedchart_operator.kube.scope import Scope
from managedchart_operator.lifecycle.plugins.catalog import has_plugins
from managedchart_operator.lifecycle.plugins.places import FEWEST_PLACES, bytes_for, places_for
from managedchart_operator.lifecycle.plugins.processes import DEFAULT_MEMORY_BYTES as DEFAULT_PLUGIN_MEMORY_BYTES
from managedchart_operator.lifecycle.plugins.processes import SMALLEST_MEMORY_BYTES as SMALLEST_PLUGIN_MEMORY_BYTES

# As spec.serviceAccountName.
_ACCOUNT = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
PREFIX = "MANAGEDCHART_"
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _json_list(value: object, expected: str, *, items: re.Pattern[str] | None = None) -> object:
    if not isinstance(value, str):
        return value
    try:
        parsed: object = json.loads(value)
    except ValueError:
        parsed = None
    if not isinstance(parsed, list) or not all(
        isinstance(item, str) and (items is None or items.fullmatch(item)) for item in parsed
    ):
        raise ValueError(f"write a JSON list of {expected}")
    return list(dict.fromkeys(parsed))


def _parse_folders(value: object) -> object:
    return _json_list(value, 'folders, like ["/charts", "/more-charts"]')


def _parse_sources(value: object) -> object:
    return _json_list(value, 'chart sources, like ["https://charts.example.com/team", "oci://ghcr.io/team"]')


def _parse_metric_sources(value: object) -> object:
    return _json_list(value, 'addresses, like ["https://thanos.example.com"]')


def _parse_addresses(value: object) -> object:
    return _json_list(value, 'ranges of addresses, like ["10.0.0.0/8"], or ["any"]')


def _check_sources(texts: list[str]) -> list[str]:
    ChartSources.parse(texts)
    return texts


def _check_metric_sources(texts: list[str]) -> list[str]:
    MetricSources.parse(texts)
    return texts


def _check_addresses(texts: list[str]) -> list[str]:
    parse_networks(texts)
    return texts


def _check_placeholders(folders: list[Path]) -> list[Path]:
    for folder in folders:
        if any("{" in part or "}" in part for part in folder.parts if part != PLACEHOLDER):
            raise ValueError(f"{str(folder)!r}: only {PLACEHOLDER} may be in braces, as the whole name of a folder")
        above = Path(*takewhile(PLACEHOLDER.__ne__, folder.parts))
        for other in folders:
            if above != folder and above.is_relative_to(other):
                raise ValueError(f"{str(other)!r} would give every namespace all folders of {str(folder)!r}")
    return folders


def _parse_namespaces(value: object) -> object:
    return _json_list(value, 'names of namespaces, like ["team-a", "team-b"]', items=_NAMESPACE)


def _parse_memory(value: object) -> object:
    if isinstance(value, int):
        return value
    if not (found := re.fullmatch(r"([0-9]{1,9})(Mi|Gi)", str(value))):
        raise ValueError("write a number of MiB or GiB, like 512Mi or 1Gi")
    return int(found[1]) * MIB * (1024 if found[2] == "Gi" else 1)


def _apply_slots(data: Mapping[str, Any]) -> int:
    # What is wrong itself is missing.
    helm, plugin = data.get("helm_memory", DEFAULT_MEMORY_BYTES), data.get("plugin_memory", DEFAULT_PLUGIN_MEMORY_BYTES)
    beside = bytes_for(FEWEST_PLACES, each=plugin) if has_plugins(data.get("plugin_dir")) else 0
    return applies_for(Limits().cpus(), Limits().memory(), each=helm, beside=beside)


def _check_absolute(folder: Path) -> Path:
    if not folder.is_absolute():
        raise ValueError(f"{str(folder)!r} is not an absolute path")
    return folder


Folder = Annotated[Path, AfterValidator(_check_absolute)]


class Settings(BaseSettings):
    """What an administrator may set."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, use_attribute_docstrings=True)

    # NoDecode: pydantic-settings would parse the JSON itself, and its error does not say what the value should look like.
    chart_roots: Annotated[
        list[Folder], NoDecode, BeforeValidator(_parse_folders), AfterValidator(_check_placeholders)
    ] = Field(default=[Path("/charts")])
    """Folders that may contain what spec.chart.path and spec.valuesFiles name; {namespace} stands for the ManagedChart's."""
    namespaces: Annotated[list[str], NoDecode, BeforeValidator(_parse_namespaces)] = Field(default=[])
    """Namespaces in which the operator works, for ManagedCharts and for their releases; empty: in all."""
    cache_dir: Folder = Path("/var/cache/managedchart")
    """Folder for fetched charts and helm's own files; used by one operator only."""
    chart_sources: Annotated[list[str], NoDecode, BeforeValidator(_parse_sources), AfterValidator(_check_sources)] = []
    """Chart repositories and registries that may be used: URLs, each of which allows everything below it. Empty: all."""
    chart_addresses: Annotated[
        list[str], NoDecode, BeforeValidator(_parse_addresses), AfterValidator(_check_addresses)
    ] = []
    """Ranges of addresses that are opened for chart sources, besides public ones; "any" opens all of them."""
    metric_sources: Annotated[
        list[str], NoDecode, BeforeValidator(_parse_metric_sources), AfterValidator(_check_metric_sources)
    ] = []
    """Servers that metric.url of an action may name: URLs, each of which allows everything below it. Empty: none."""
    helm_binary: str = "helm"
    """The helm program: a path, or a name on PATH."""
    http_host: str = "0.0.0.0"  # noqa: S104 -- the kubelet and Prometheus come from outside the pod
    """Address on which /metrics, /healthz and /readyz are served."""
    http_port: int = Field(default=8080, ge=0, le=65535)
    """HTTP port; 0 picks a free port and logs it."""
    helm_memory: Annotated[int, BeforeValidator(_parse_memory)] = Field(
        default=DEFAULT_MEMORY_BYTES, ge=SMALLEST_MEMORY_BYTES
    )
    """How much memory one helm process may use, like 512Mi or 1Gi; one that needs more ends, and its chart is too large."""
    render_seconds: float = Field(default=RENDER_SECONDS, gt=0)
    """How long helm may render a chart, in seconds, whatever spec.timeout is."""
    plugin_dir: Folder | None = None
    """Folder with Python modules that provide lifecycles, read at the start; see docs/plugins.md. Default: none."""
    plugin_memory: Annotated[int, BeforeValidator(_parse_memory)] = Field(
        default=DEFAULT_PLUGIN_MEMORY_BYTES, ge=SMALLEST_PLUGIN_MEMORY_BYTES
    )
    """How much memory a phase of a plug-in may use, like 512Mi or 1Gi; one that needs more ends."""
    apply_slots: int = Field(default_factory=_apply_slots, ge=1)
    """How many helm processes may render and apply at once, which costs CPU and memory.

    Default: twice the CPUs, or fewer, so that all fit into memory at their limits, with two processes of plug-ins if there are
    plug-ins."""
    helm_processes: int = Field(default_factory=lambda: processes_for(Limits().memory()), ge=1)
    """How many helm processes may exist at once, including those that wait for hooks. Default: as many as fit in memory."""
    namespace_share: float = Field(default=0.5, gt=0, le=1)
    """Which part of each of these, and of the waits for objects, the ManagedCharts of one namespace may use at once."""
    cross_namespace: Literal["Allow", "Consent"] = "Allow"
    """Whether a targetNamespace other than the ManagedChart's own needs the consent of that namespace."""
    probe_seconds: float = Field(default=600.0, gt=0)
    """Interval between checks of resources whose retries are exhausted, in seconds.

    A permission that was missing is asked for 20 times as often, and the next attempt begins as soon as the operator has it."""
    default_service_account: str | None = Field(default=None, pattern=_ACCOUNT, max_length=253)
    """ServiceAccount for ManagedCharts that name none, in the namespace of each; without it they run as the operator."""
    delete_as_operator: bool = False
    """Whether the operator itself uninstalls the release of a deleted ManagedChart whose ServiceAccount no longer may.

    By default the release is left, and a Warning Event lists it."""
    uninstall_with_crd: bool = False
    """Whether deleting the CRD uninstalls the releases of all ManagedCharts; by default they are kept."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level that is logged."""
    log_format: Literal["json", "text"] = "json"
    """json writes one object per line for log collectors, text one line for people."""

    @property
    def scope(self) -> Scope:
        """The namespaces in which the operator works."""
        return Scope(tuple(self.namespaces))

    @property
    def child_limits(self) -> ChildLimits:
        """What a helm process may use."""
        return ChildLimits(self.helm_memory, self.render_seconds)

    def plugin_places(self, memory: int) -> int:
        """Return how many processes of plug-ins may work at once, as far as the others leave memory for them."""
        fewest = bytes_for(FEWEST_PLACES, each=self.plugin_memory)
        needed = memory_needed(applies=self.apply_slots, each=self.helm_memory, beside=fewest)
        return places_for(memory - needed, each=self.plugin_memory)

    def plugin_bytes(self, memory: int) -> int:
        """Return what the processes of plug-ins may take together; 0 if there are no plug-ins."""
        return bytes_for(self.plugin_places(memory), each=self.plugin_memory) if has_plugins(self.plugin_dir) else 0

    def shortage(self, memory: int) -> str | None:
        """Return a warning if all processes may need more than these bytes of memory together."""
        beside = self.plugin_bytes(memory)
        needed = memory_needed(applies=self.apply_slots, each=self.helm_memory, beside=beside)
        if needed <= memory:
            return None
        several = [f"{self.apply_slots} helm processes of {self.helm_memory // MIB} MiB"]
        settings = [f"{PREFIX}APPLY_SLOTS", f"{PREFIX}HELM_MEMORY"]
        if beside:
            several.append(f"{self.plugin_places(memory)} processes of plug-ins of {self.plugin_memory // MIB} MiB")
            settings.append(f"{PREFIX}PLUGIN_MEMORY")
        return (
            f"{', '.join(several)}, the operator and its workers may need {needed // MIB} MiB together, but there are only "
            f"{memory // MIB} MiB: the kernel may kill all of them. Raise the memory limit of the pod, or lower "
            f"{' or '.join(settings)}"
        )

    @property
    def helm_home(self) -> Path:
        """The folder that helm uses as its home."""
        return self.cache_dir / "helm"


def unknown_variables(names: Iterable[str]) -> list[str]:
    """Return a message for each variable with the prefix that is not a setting: most likely it is misspelt.

    This is not an error, because Kubernetes itself sets such variables in a pod whose namespace has a Service of this name,
    unless service links are off.
    """
    known = [field.upper() for field in Settings.model_fields]
    problems = []
    for name in sorted(name for name in names if name.startswith(PREFIX)):
        word = name.removeprefix(PREFIX)
        if word not in known:
            near = get_close_matches(word, known, n=1)
            problems.append(f"Unknown setting {name} ignored" + (f"; did you mean {PREFIX}{near[0]}?" if near else ""))
    return problems
