"""The spec of a ManagedChart: what runs, where, and how.

Purpose: the desired state as a person writes it, with the mission's field names and defaults. Boundary: shape only;
nothing is read or resolved here. Invariant: what the CRD's schema and CEL rules accept, these models accept, and
the other way round (a test holds it), so that an object which was stored can always be read.

docs/fields.md tells each field's effect on helm.
"""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from managedchart_operator.api.base import ApiModel
from managedchart_operator.api.duration import Duration

# Helm refuses longer release names: name + ".v" + revision must fit in a label (helm.sh, "Release names").
RELEASE_NAME_LENGTH = 53
_DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_SEMVER = r"^v?[0-9]+(\.[0-9]+){0,2}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$"

Name = Annotated[str, Field(pattern=_DNS_LABEL, min_length=1, max_length=63)]


def _rules(*rules: tuple[str, str]) -> dict[str, Any]:
    """CEL validation rules: pairs of an expression and the sentence that a person reads when it is false."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


class Action(StrEnum):
    """What the lifecycle's exec phase does with the chart."""

    DEPLOY = "Deploy"
    DESTROY = "Destroy"
    SKIP = "Skip"


class DeletionPolicy(StrEnum):
    """What happens to the release when the ManagedChart itself is deleted."""

    UNINSTALL = "Uninstall"
    ORPHAN = "Orphan"


class ChartSource(ApiModel):
    """Where the chart comes from. Exactly one of path, repository, oci and contents."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            (
                "[has(self.path), has(self.repository), has(self.oci), has(self.contents)].filter(x, x).size() == 1",
                "set exactly one of path, repository, oci and contents",
            ),
            ("has(self.name) == has(self.repository)", "name goes with repository: set both or neither"),
            ("!has(self.version) || has(self.repository) || has(self.oci)", "version goes with repository or oci only"),
            ("!has(self.plainHTTP) || has(self.oci)", "plainHTTP goes with oci only"),
        )
    )

    path: str | None = Field(default=None, min_length=1, max_length=1024)
    """Folder or .tgz of the chart in the operator's own pod, below one of its chart roots (default /charts)."""
    repository: str | None = Field(default=None, pattern=r"^https?://[^\s]+$", max_length=2048)
    """URL of a Helm chart repository, http:// or https://; needs name."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.]*$", max_length=128)
    """Name of the chart in the repository."""
    version: str | None = Field(default=None, min_length=1, max_length=128)
    """Version or constraint (6.14.1, 6.x, >=1.2 <2) of the chart; default the newest stable one."""
    oci: str | None = Field(default=None, pattern=r"^oci://[^\s@]+$", max_length=2048)
    """Reference of the chart in an OCI registry without its tag, like oci://host/charts/podinfo."""
    plain_http: bool | None = Field(default=None, alias="plainHTTP")
    """Speak HTTP instead of HTTPS with the OCI registry; for registries inside the cluster."""
    contents: str | None = Field(default=None, min_length=1, max_length=1_000_000, pattern=r"^[A-Za-z0-9+/=\s]+$")
    """The packaged chart itself (.tgz) in base64; for small charts."""


class SetValue(ApiModel):
    """One value by its path, as on the command line of helm."""

    key: str = Field(min_length=1, max_length=1024)
    """Path of the value in the syntax of helm's --set, like image.tag or hosts[0].name."""
    value: str = Field(max_length=65536)
    """The value; true, false, null and whole numbers are typed as helm's --set types them."""


class YamlFile(ApiModel):
    """A values file written in the resource itself."""

    filename: str = Field(min_length=1, max_length=253)
    """Name of the file, for messages only."""
    yaml_content: str = Field(max_length=262_144)
    """YAML of the values; must be a mapping."""


class Retry(ApiModel):
    """How often and how soon a failure that may heal is tried again."""

    limit: int = Field(default=5, ge=0, le=1000)
    """How many times; after that the resource is Stalled."""
    backoff: Duration = "10s"
    """Wait before the first retry; it doubles with each one."""
    max_backoff: Duration = "5m"
    """Longest wait between two retries."""


class LifecycleRef(ApiModel):
    """Which lifecycle runs the chart."""

    name: str = Field(default="default", min_length=1, max_length=253)
    """Name of a built-in lifecycle (default, prometheus-operator, aws-vpc-cni) or of an installed plug-in."""


class ManagedChartSpec(ApiModel):
    """What to deploy, where and how."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            (
                "has(self.releaseName) == has(oldSelf.releaseName) && "
                "(!has(self.releaseName) || self.releaseName == oldSelf.releaseName)",
                "releaseName cannot be changed: delete the ManagedChart and create it anew "
                "(deletionPolicy: Orphan keeps the release)",
            ),
            (
                "has(self.targetNamespace) == has(oldSelf.targetNamespace) && "
                "(!has(self.targetNamespace) || self.targetNamespace == oldSelf.targetNamespace)",
                "targetNamespace cannot be changed: delete the ManagedChart and create it anew "
                "(deletionPolicy: Orphan keeps the release)",
            ),
        )
    )

    chart: ChartSource
    """Where the chart comes from."""
    release_name: str | None = Field(default=None, pattern=_DNS_LABEL, min_length=1, max_length=RELEASE_NAME_LENGTH)
    """Name of the Helm release; default the resource's own name. Cannot be changed."""
    target_namespace: Name | None = None
    """Namespace of the release; default the resource's own namespace. Cannot be changed."""
    create_namespace: bool = True
    """Create the target namespace when it does not exist."""
    action: Action = Action.DEPLOY
    """Deploy installs or upgrades, Destroy uninstalls what is deployed, Skip leaves everything as it is."""
    deletion_policy: DeletionPolicy = DeletionPolicy.UNINSTALL
    """What deleting this resource does to the release: Uninstall or Orphan (keep it), whatever the action."""
    atomic: bool = True
    """On failure go back to the last good revision, or uninstall a failed first install, after the evidence is kept."""
    wait: bool = True
    """Wait until the release's workloads are ready before calling it deployed."""
    timeout: Duration = "180s"
    """How long helm waits for the resources, and for each hook."""
    force_upgrade: bool = False
    """Replace objects instead of patching them, as for changes of immutable fields."""
    dry_run: bool = False
    """Render and validate against the API server, change nothing, and tell the outcome in the status."""
    last_breaking_version_requiring_restart: str | None = Field(default=None, pattern=_SEMVER, max_length=64)
    """An installed chart older than this version is uninstalled before a chart of this version or newer is installed."""
    values_files: list[Annotated[str, Field(min_length=1, max_length=1024)]] = Field(
        default_factory=list, max_length=64
    )
    """Values files in the operator's own pod, below one of its chart roots; later ones win."""
    yaml_files_content: list[YamlFile] = Field(default_factory=list, max_length=64)
    """Values files written in place; they win over valuesFiles."""
    values: dict[str, Any] = Field(
        default_factory=dict, json_schema_extra={"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    )
    """Values as Helm users write them; they win over both kinds of files. A null removes the chart's default."""
    set: list[SetValue] = Field(default_factory=list, max_length=256)
    """Single values by path; they win over everything else."""
    lifecycle: LifecycleRef = Field(default_factory=LifecycleRef)
    """Which lifecycle runs this chart."""
    retry: Retry = Field(default_factory=Retry)
    """How failures that may heal are retried."""
