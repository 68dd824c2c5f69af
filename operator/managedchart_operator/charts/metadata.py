"""What a chart says of itself in Chart.yaml.

Boundary: reads the few fields that the operator shows and compares; whether helm can use the chart, helm says.
Invariant: a field has the value that helm gives it, `version: 1.10` written as a number included ("1.1").
"""

from dataclasses import dataclass

from managedchart_operator.api.resource import RETRY_ANNOTATION
from managedchart_operator.errors import ChartError
from managedchart_operator.helm.yaml_reader import YamlError, read_documents
from managedchart_operator.helm.yaml_scalars import as_string
from managedchart_operator.reasons import Reason

# Real ones are below 10 KiB; it is read into memory from charts that anybody may have made.
MAX_CHART_YAML_BYTES = 1024 * 1024
# Names of Kubernetes objects are no longer; these texts stand in the status.
_MAX_FIELD = 253
# What is stalled is looked at again when its spec changes, which a correction of the chart's own files does not do.
_HINT = (
    "Name a folder that holds Chart.yaml, or a .tgz that helm package made; after a correction of the chart itself, give "
    f"the annotation {RETRY_ANNOTATION} a new value."
)


@dataclass(frozen=True, slots=True)
class ChartMetadata:
    """Name and versions of a chart."""

    name: str
    version: str
    app_version: str | None


def parse_chart_yaml(data: bytes, *, origin: str) -> ChartMetadata:
    """Read Chart.yaml. `origin` names the chart in errors. Raises ChartError (CHART_INVALID)."""
    try:
        _, content = next(read_documents(data))
    except YamlError as error:
        where = "" if error.line is None else f", line {error.line}"
        raise invalid(f"{origin}: Chart.yaml{where}: {error.problem}") from error
    if not isinstance(content, dict):
        raise invalid(f"{origin}: Chart.yaml is not a mapping")
    # helm decodes it through Go's JSON, which does not care for upper and lower case.
    fields = {key.lower(): as_string(value) for key, value in content.items()}
    name, version = fields.get("name"), fields.get("version")
    for field, value in (("name", name), ("version", version)):
        if not value or len(value) > _MAX_FIELD:
            problem = f"is longer than {_MAX_FIELD} characters" if value else "is missing"
            raise invalid(f"{origin}: {field} {problem} in Chart.yaml")
    app_version = fields.get("appversion")
    return ChartMetadata(name=name or "", version=version or "", app_version=app_version and app_version[:_MAX_FIELD])


def invalid(message: str) -> ChartError:
    """The error for something that is no chart; another attempt is useless until it is changed."""
    return ChartError(message, reason=Reason.CHART_INVALID, hint=_HINT)
