"""The operator's settings, all from the environment.

Each field is one variable with the prefix MANAGEDCHART_, like MANAGEDCHART_CHART_ROOTS='["/charts"]'. Nothing is read at
import. KUBECONFIG has its usual meaning; in a pod the ServiceAccount is used.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What an administrator may set."""

    model_config = SettingsConfigDict(env_prefix="MANAGEDCHART_", use_attribute_docstrings=True)

    chart_roots: list[Path] = Field(default=[Path("/charts")])
    """Folders below which spec.chart.path and spec.valuesFiles may point."""
    cache_dir: Path = Path("/var/cache/managedchart")
    """Folder of fetched charts and of helm's own files; belongs to one operator alone."""
    helm_binary: str = "helm"
    """The helm program, by path or by name on PATH."""
    http_host: str = "0.0.0.0"  # noqa: S104 -- the kubelet and Prometheus come from outside the pod
    """Address on which /metrics, /healthz and /readyz are served."""
    http_port: int = Field(default=8080, ge=0, le=65535)
    """Port of the same; 0 takes a free one and logs it."""
    apply_slots: int = Field(default_factory=lambda: 2 * len(os.sched_getaffinity(0)), ge=1)
    """How many helm processes may render and apply at once; they are bound by CPU. Default: twice the cores."""
    helm_processes: int = Field(default=32, ge=1)
    """How many helm processes may exist at once, waiting ones included; each takes about 70 MB."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level of what is logged."""
    log_format: Literal["json", "text"] = "json"
    """json writes an object a line for log collectors, text a line for people."""
