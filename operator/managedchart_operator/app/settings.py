"""The operator's settings, all from the environment.

Each field is one variable with the prefix MANAGEDCHART_, like MANAGEDCHART_CHART_ROOTS='["/charts"]'; an empty one counts
as not set. Nothing is read at import. KUBECONFIG has its usual meaning; in a pod the ServiceAccount is used.
"""

import json
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from managedchart_operator.helm.limits import Limits
from managedchart_operator.helm.slots import applies_for, processes_for

PREFIX = "MANAGEDCHART_"


def _parse_folders(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        parsed: object = json.loads(value)
    except ValueError:
        parsed = None
    if not isinstance(parsed, list) or not all(isinstance(item, str) for item in parsed):
        raise ValueError("""write a JSON list of folders, like ["/charts", "/more-charts"]""")
    return parsed


def _check_absolute(folder: Path) -> Path:
    if not folder.is_absolute():
        raise ValueError(f"{str(folder)!r} is not an absolute path")
    return folder


Folder = Annotated[Path, AfterValidator(_check_absolute)]


class Settings(BaseSettings):
    """What an administrator may set."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, use_attribute_docstrings=True)

    # NoDecode: pydantic-settings would read the JSON itself and end with an error that says nothing of the value's form.
    chart_roots: Annotated[list[Folder], NoDecode, BeforeValidator(_parse_folders)] = Field(default=[Path("/charts")])
    """Folders below which spec.chart.path and spec.valuesFiles may point."""
    cache_dir: Folder = Path("/var/cache/managedchart")
    """Folder of fetched charts and of helm's own files; belongs to one operator alone."""
    helm_binary: str = "helm"
    """The helm program, by path or by name on PATH."""
    http_host: str = "0.0.0.0"  # noqa: S104 -- the kubelet and Prometheus come from outside the pod
    """Address on which /metrics, /healthz and /readyz are served."""
    http_port: int = Field(default=8080, ge=0, le=65535)
    """Port of the same; 0 takes a free one and logs it."""
    apply_slots: int = Field(default_factory=lambda: applies_for(Limits().cpus()), ge=1)
    """How many helm processes may render and apply at once; they are bound by CPU. Default: twice the CPUs."""
    helm_processes: int = Field(default_factory=lambda: processes_for(Limits().memory()), ge=1)
    """How many helm processes may exist at once, those that wait for hooks included. Default: as many as the memory holds."""
    probe_seconds: float = Field(default=600.0, gt=0)
    """How often to look whether the cause of a failure that was given up is gone, in seconds."""
    uninstall_with_crd: bool = False
    """Whether deleting the CRD uninstalls the releases of all ManagedCharts; by default they are kept."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level of what is logged."""
    log_format: Literal["json", "text"] = "json"
    """json writes an object a line for log collectors, text a line for people."""


def unknown_variables(names: Iterable[str]) -> list[str]:
    """Tell of variables with our prefix that are no settings: most likely misspelt, and without effect.

    No error: Kubernetes itself sets such variables in a pod beside a Service of this name, where service links are on.
    """
    known = [field.upper() for field in Settings.model_fields]
    problems = []
    for name in sorted(name for name in names if name.startswith(PREFIX)):
        word = name.removeprefix(PREFIX)
        if word not in known:
            near = get_close_matches(word, known, n=1)
            problems.append(f"{name} is no setting and has no effect" + (f"; {PREFIX}{near[0]} is one" if near else ""))
    return problems
