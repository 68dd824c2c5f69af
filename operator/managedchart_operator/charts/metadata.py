"""Reads name and versions of a chart from its Chart.yaml.

These are the fields that the operator shows and compares; whether the rest is valid, helm decides. A field has the value that
helm gives it, also `version: 1.10` written as a number ("1.1").
"""

from dataclasses import dataclass

from managedchart_operator.api import annotations
from managedchart_operator.errors import ChartError
from managedchart_operator.helm.yaml_reader import YamlError, read_documents
from managedchart_operator.helm.yaml_scalars import as_string
from managedchart_operator.reasons import Reason

# Real ones are below 10 KiB; it is read into memory from untrusted charts.
_MAX_CHART_YAML_BYTES = 1024 * 1024
# The limit for names of Kubernetes objects; these texts are part of the status.
_MAX_FIELD = 253
# A Stalled resource is retried when its spec changes, and a correction of the chart's files does not change the spec.
_HINT = (
    "Name a folder that contains Chart.yaml, or a .tgz made by helm package. If you corrected the chart itself, change the "
    f"annotation {annotations.RETRY}."
)


@dataclass(frozen=True, slots=True)
class ChartMetadata:
    """Name and versions of a chart."""

    name: str
    version: str
    app_version: str | None


def parse_chart_yaml(data: bytes, *, origin: str) -> ChartMetadata:
    """Read Chart.yaml. `origin` names the chart in errors. Raises ChartError (CHART_INVALID)."""
    if len(data) > _MAX_CHART_YAML_BYTES:
        raise invalid(f"{origin}: Chart.yaml is larger than {_MAX_CHART_YAML_BYTES >> 20} MiB")
    try:
        _, content = next(read_documents(data))
    except YamlError as error:
        raise invalid(f"{origin}: {error.at('Chart.yaml')}") from error
    if not isinstance(content, dict):
        raise invalid(f"{origin}: Chart.yaml is not a mapping")
    # helm decodes it with Go's JSON, which ignores case.
    fields = {key.lower(): as_string(value) for key, value in content.items()}
    name, version = fields.get("name"), fields.get("version")
    for field, value in (("name", name), ("version", version)):
        if not value or len(value) > _MAX_FIELD:
            problem = f"is longer than {_MAX_FIELD} characters" if value else "is missing"
            raise invalid(f"{origin}: {field} {problem} in Chart.yaml")
    app_version = fields.get("appversion")
    return ChartMetadata(name=name or "", version=version or "", app_version=app_version and app_version[:_MAX_FIELD])


def invalid(message: str) -> ChartError:
    """Return the error for something that is not a valid chart; a retry without a change would fail again."""
    return ChartError(message, reason=Reason.CHART_INVALID, hint=_HINT)
