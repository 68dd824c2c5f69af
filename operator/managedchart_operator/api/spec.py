"""The spec of a ManagedChart: the desired state as a person writes it.

These models are the shape only; nothing is read or resolved here. They accept exactly what the CRD's schema and CEL rules
accept (a test compares them), and durations beyond their `bounds`, so every stored object can be read. docs/fields.md describes
each field's effect on helm.
"""

import re
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from managedchart_operator.api.bounds import BACKOFF, FAIL_FAST_GRACE, MAX_BACKOFF, TIMEOUT
from managedchart_operator.api.conflicts import Conflicts
from managedchart_operator.api.duration import Duration
from managedchart_operator.api.lifecycle import LifecycleRef
from managedchart_operator.api.object_selector import ObjectSelector
from managedchart_operator.api.schema import ApiModel, cel_string, matches, rules

# Helm refuses longer release names: name + ".v" + revision must fit in a label (helm.sh, "Release names").
RELEASE_NAME_LENGTH = 53
_DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
# Helm's own rule (chart/common/util ValidateReleaseName): labels joined by dots, as in a resource's name.
_RELEASE_NAME = _DNS_SUBDOMAIN
# ASCII only: the regular expressions of Go (API server) and Rust (pydantic) differ in what counts as white space.
# No "@" between the scheme and the first slash: everybody who may read the resource could read a password there.
_REPOSITORY = r"^https?://[!-.0-?A-~]+(/[!-~]*)?$"
_OCI = r"^oci://[A-Za-z0-9.:\[\]-]+(/[a-z0-9._-]+)+$"
# Semantic Versioning 2 with Helm's leniency (a leading v, missing parts): other versions would fail later.
_NUMBER = r"(0|[1-9][0-9]*)"
_IDENTIFIER = r"(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
SEMVER = rf"^v?{_NUMBER}(\.{_NUMBER}){{0,2}}(-{_IDENTIFIER}(\.{_IDENTIFIER})*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$"
# Short on purpose: in CEL a regular expression costs its length times the text's, and one twice as long exceeds the API
# server's limit for a megabyte (measured on 1.37).
_BASE64 = r"^[A-Za-z0-9+/= \r\n]+$"
# The first three bytes of every gzip file (RFC 1952, with its only method) in base64.
_GZIP_BASE64 = "H4sI"
_IS_PACKAGE = f"self.contents.startsWith('{_GZIP_BASE64}') && self.contents.matches({cel_string(_BASE64)})"

ONE_SOURCE = "set exactly one of path, repository, oci and contents"
NAME_WITH_REPOSITORY = "name goes with repository: set both or neither"
VERSION_WITH_REMOTE = "version goes with repository or oci only"
PLAIN_HTTP_WITH_OCI = "plainHTTP goes with oci only"
NOT_A_PACKAGE = "contents must be a packaged chart (.tgz) in base64, as `base64 -w0 chart.tgz` prints it"
NOT_A_POD_PATH = 'write the path from the root and without "..", like /charts/podinfo'


def _immutable(field: str) -> tuple[str, str]:
    """Return the rule that an optional field keeps its value, or stays absent."""
    return (
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"{field} cannot be changed: delete the ManagedChart and create it again (deletionPolicy: Orphan keeps the release)",
    )


def _check_pod_path(path: str) -> str:
    if not path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise ValueError(NOT_A_POD_PATH)
    return path


def _is_package(contents: str) -> bool:
    return contents.startswith(_GZIP_BASE64) and re.fullmatch(_BASE64, contents) is not None


# Strict, as the API server is: "yes" is not true, and "5" is not 5.
Flag = Annotated[bool, Field(strict=True)]
PodPath = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        json_schema_extra=rules(
            ("self.startsWith('/') && !self.split('/').exists(part, part == '..')", NOT_A_POD_PATH),
        ),
    ),
    AfterValidator(_check_pod_path),
]


class Action(StrEnum):
    """What the lifecycle's exec phase does with the chart."""

    DEPLOY = "Deploy"
    DESTROY = "Destroy"
    SKIP = "Skip"


class DeletionPolicy(StrEnum):
    """What happens to the release when the ManagedChart itself is deleted."""

    UNINSTALL = "Uninstall"
    ORPHAN = "Orphan"


class CrdPolicy(StrEnum):
    """What a deployment does with the CRDs in the crds/ folders of the chart and its enabled subcharts."""

    SKIP = "Skip"
    CREATE = "Create"
    CREATE_REPLACE = "CreateReplace"


class ChartSource(ApiModel):
    """Where the chart comes from. Exactly one of path, repository, oci and contents."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "[has(self.path), has(self.repository), has(self.oci), has(self.contents)].filter(x, x).size() == 1",
                ONE_SOURCE,
            ),
            ("has(self.name) == has(self.repository)", NAME_WITH_REPOSITORY),
            ("!has(self.version) || has(self.repository) || has(self.oci)", VERSION_WITH_REMOTE),
            ("!has(self.plainHTTP) || has(self.oci)", PLAIN_HTTP_WITH_OCI),
            # Not at contents: there the API server's answer repeats the whole value.
            (f"!has(self.contents) || {_IS_PACKAGE}", NOT_A_PACKAGE),
        )
    )

    path: PodPath | None = None
    """Folder or .tgz of the chart in the operator's own pod, below one of its chart roots (default /charts)."""
    repository: str | None = Field(
        default=None,
        pattern=_REPOSITORY,
        max_length=2048,
        json_schema_extra=matches(
            _REPOSITORY, "write the URL of a chart repository like https://host/charts, without user and password"
        ),
    )
    """URL of a Helm chart repository, http:// or https://, without credentials; needs name."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.]*$", max_length=128)
    """Name of the chart in the repository."""
    version: str | None = Field(default=None, min_length=1, max_length=128)
    """Version or constraint (6.14.1, 6.x, >=1.2 <2) of the chart; default the newest stable one."""
    oci: str | None = Field(
        default=None,
        pattern=_OCI,
        max_length=2048,
        json_schema_extra=matches(
            _OCI, "write the reference like oci://host/charts/podinfo; its tag goes into version"
        ),
    )
    """Reference of the chart in an OCI registry without its tag, like oci://host/charts/podinfo."""
    plain_http: Flag | None = Field(default=None, alias="plainHTTP")
    """Speak HTTP instead of HTTPS with the OCI registry; for registries inside the cluster."""
    contents: str | None = Field(default=None, min_length=1, max_length=1_000_000)
    """The packaged chart itself (.tgz) in base64; for small charts."""

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        """Check the rules above where no API server has."""
        sources = (self.path, self.repository, self.oci, self.contents)
        if sum(source is not None for source in sources) != 1:
            raise ValueError(ONE_SOURCE)
        if (self.name is None) != (self.repository is None):
            raise ValueError(NAME_WITH_REPOSITORY)
        if self.version is not None and self.repository is None and self.oci is None:
            raise ValueError(VERSION_WITH_REMOTE)
        if self.plain_http is not None and self.oci is None:
            raise ValueError(PLAIN_HTTP_WITH_OCI)
        if self.contents is not None and not _is_package(self.contents):
            raise ValueError(NOT_A_PACKAGE)
        return self


class SetValue(ApiModel):
    """One value by its path, as on the command line of helm."""

    key: str = Field(min_length=1, max_length=1024)
    """Path of the value in the syntax of helm's --set, like image.tag or hosts[0].name."""
    value: str = Field(max_length=65536)
    """The value; true, false, null and whole numbers are typed as helm's --set types them."""


class YamlFile(ApiModel):
    """A values file written in the resource itself."""

    filename: str = Field(min_length=1, max_length=253)
    """Name of the file, for messages; each name once."""
    yaml_content: str = Field(max_length=262_144)
    """YAML of the values; must be a mapping."""


def _check_filenames(files: list[YamlFile]) -> list[YamlFile]:
    names = [file.filename for file in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two files have the same name: {', '.join(twice)}")
    return files


class Retry(ApiModel):
    """How often and how soon a temporary failure is retried."""

    limit: int = Field(default=5, ge=0, le=1000, strict=True)
    """Number of retries; after the last one the resource is Stalled."""
    backoff: Duration = Field(default="10s", json_schema_extra=BACKOFF.rules())
    """Delay before the first retry; it doubles with each one. At least 1s."""
    max_backoff: Duration = Field(default="5m", json_schema_extra=MAX_BACKOFF.rules())
    """Longest delay between two retries; from 1s to 24h."""
    after_rollback: bool = Field(default=False, strict=True)
    """Retry also an upgrade that was applied, failed and was rolled back; each attempt disrupts the running workloads."""


class WaitFor(ApiModel):
    """Which of the release's objects the wait includes."""

    exclude: list[ObjectSelector] = Field(default_factory=list, max_length=64)
    """Objects that the wait leaves out, because they do not become ready by design."""


class ManagedChartSpec(ApiModel):
    """What to deploy, where and how."""

    model_config = ConfigDict(json_schema_extra=rules(_immutable("releaseName"), _immutable("targetNamespace")))

    chart: ChartSource
    """Where the chart comes from."""
    release_name: str | None = Field(
        default=None,
        pattern=_RELEASE_NAME,
        min_length=1,
        max_length=RELEASE_NAME_LENGTH,
        json_schema_extra=matches(
            _RELEASE_NAME, 'write a release name in lower case letters, digits, "-" and ".", like podinfo-blue'
        ),
    )
    """Name of the Helm release; default the resource's own name. Cannot be changed."""
    target_namespace: str | None = Field(
        default=None,
        pattern=_DNS_LABEL,
        min_length=1,
        max_length=63,
        json_schema_extra=matches(
            _DNS_LABEL, 'write a namespace in lower case letters, digits and "-", like cert-manager'
        ),
    )
    """Namespace of the release; default the resource's own namespace. Cannot be changed."""
    service_account_name: str | None = Field(
        default=None,
        pattern=_DNS_SUBDOMAIN,
        min_length=1,
        max_length=253,
        json_schema_extra=matches(
            _DNS_SUBDOMAIN,
            'write the name of a ServiceAccount in lower case letters, digits, "-" and ".", like deployer',
        ),
    )
    """ServiceAccount in this resource's own namespace; Helm and the operator do everything for it with its permissions."""
    create_namespace: Flag = True
    """Create the target namespace when it does not exist."""
    action: Action = Action.DEPLOY
    """Deploy installs or upgrades, Destroy uninstalls what is deployed, Skip leaves everything as it is."""
    deletion_policy: DeletionPolicy = DeletionPolicy.UNINSTALL
    """What deleting this resource does to the release: Uninstall or Orphan (keep it), whatever the action."""
    atomic: Flag = True
    """On failure, collect the evidence, then roll back to the last good revision, or uninstall a failed first install."""
    wait: Flag = True
    """Wait until the release's objects are ready before it counts as deployed."""
    wait_for: WaitFor = Field(default_factory=WaitFor)
    """Which objects the wait includes; all of them by default."""
    timeout: Duration = Field(default="180s", json_schema_extra=TIMEOUT.rules())
    """How long to wait for the objects to become ready, and for each hook; at most 24h."""
    fail_fast: Flag = True
    """Stop waiting as soon as the rollout clearly cannot succeed, instead of using up the timeout."""
    fail_fast_grace: Duration = Field(default="3s", json_schema_extra=FAIL_FAST_GRACE.rules())
    """How long the pull of an image, or the creation of pods, may fail before it is treated as a failure."""
    force_upgrade: Flag = False
    """Replace objects instead of patching them; what others added to them is lost."""
    conflicts: Conflicts = Field(default_factory=Conflicts)
    """Whose value wins if the chart sets a field that another field manager owns."""
    crds: CrdPolicy = CrdPolicy.CREATE
    """What happens first to the CRDs in crds/: Create the missing ones, CreateReplace also existing ones, or Skip all."""
    dry_run: Flag = False
    """Render and validate against the API server without changing anything; the status has the outcome."""
    skip_schema_validation: Flag = False
    """Do not check the values against the chart's values.schema.json, and do not fetch what it refers to."""
    last_breaking_version_requiring_restart: str | None = Field(
        default=None,
        pattern=SEMVER,
        max_length=64,
        json_schema_extra=matches(SEMVER, "write a version like 1.2.0"),
    )
    """An installed chart older than this version is uninstalled before one of this version or newer is installed."""
    values_files: list[PodPath] = Field(default_factory=list, max_length=64)
    """Values files in the operator's own pod, below one of its chart roots; later ones win."""
    yaml_files_content: Annotated[list[YamlFile], AfterValidator(_check_filenames)] = Field(
        default_factory=list,
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["filename"]},
    )
    """Values files written in place; they win over valuesFiles."""
    values: dict[str, Any] = Field(
        default_factory=dict,
        # Atomic: where server-side apply merges a map by key, an emptied map becomes null, which helm takes for a removal.
        json_schema_extra={
            "type": "object",
            "x-kubernetes-map-type": "atomic",
            "x-kubernetes-preserve-unknown-fields": True,
        },
    )
    """Values as Helm users write them; they win over both kinds of files. A null removes the chart's default."""
    set: list[SetValue] = Field(default_factory=list, max_length=256)
    """Single values by path; they win over everything else."""
    lifecycle: LifecycleRef = Field(default_factory=LifecycleRef)
    """Which lifecycle runs this chart, and which actions run around its phases."""
    retry: Retry = Field(default_factory=Retry)
    """How temporary failures are retried."""
