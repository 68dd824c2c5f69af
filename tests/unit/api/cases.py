"""Specs that are accepted, and specs that are refused with a sentence.

Both judges read this one table: the models (test_agreement.py) and the CRD on a real API server (tests/e2e/test_crd.py).
"""

from dataclasses import dataclass
from typing import Any

PATH = {"path": "/charts/podinfo"}
REPOSITORY = {"repository": "https://charts.example.org/stable", "name": "podinfo"}
OCI = {"oci": "oci://registry.example.org:5000/charts/podinfo"}
CONTENTS = {"contents": "H4sIAAAAAAAAAwMAAAAAAAAAAAA="}

ONE_SOURCE = "set exactly one of path, repository, oci and contents"
POD_PATH = 'write the path from the root and without "..", like /charts/podinfo'
DURATION = "write a duration longer than zero, like 180s, 5m or 1h30m"
TIMEOUT = "timeout can be at most 24h: shorten it, or set spec.wait to false if the objects need longer to become ready"
BACKOFF = "backoff can be from 1s to 24h: write a duration like 10s or 5m"
RELEASE_NAME = 'write a release name in lower case letters, digits, "-" and ".", like podinfo-blue'
NAMESPACE = 'write a namespace in lower case letters, digits and "-", like cert-manager'
REPOSITORY_URL = "write the URL of a chart repository like https://host/charts, without user and password"
OCI_REFERENCE = "write the reference like oci://host/charts/podinfo; its tag goes into version"
SEMVER = "write a version like 1.2.0"
NAMES_NOTHING = "name at least one of apiVersion, group, kind, name and namespace"
GROUP_TWICE = "set apiVersion or group, not both"
PACKAGE = "contents must be a packaged chart (.tgz) in base64, as `base64 -w0 chart.tgz` prints it"


@dataclass(frozen=True)
class Case:
    """A spec, and a part of what the API server answers when it refuses it (None: accepted)."""

    name: str
    spec: dict[str, Any]
    says: str | None = None

    def __str__(self) -> str:
        return self.name


def _chart(name: str, chart: dict[str, Any], says: str | None = None) -> Case:
    return Case(name, {"chart": chart}, says)


def _with(name: str, says: str | None = None, **fields: Any) -> Case:
    return Case(name, {"chart": PATH, **fields}, says)


ACCEPTED = [
    _chart("a path", PATH),
    _chart("a packaged chart by its path", {"path": "/charts/podinfo-6.14.1.tgz"}),
    _chart("two dots inside a file name", {"path": "/charts/podinfo..bak"}),
    _chart("a repository", REPOSITORY),
    _chart("a repository with a version", {**REPOSITORY, "version": "6.x"}),
    _chart("a repository with a constraint", {**REPOSITORY, "version": ">=1.2 <2"}),
    _chart("a repository with a port and an at sign in its path", {**REPOSITORY, "repository": "http://[::1]:80/a@b/c"}),
    _chart("an OCI reference", OCI),
    _chart("an OCI reference with version and plain HTTP", {**OCI, "version": "6.14.1", "plainHTTP": True}),
    _chart("an OCI reference on an IPv6 host", {"oci": "oci://[::1]:5000/charts/podinfo"}),
    _chart("contents in one line", CONTENTS),
    _chart("contents in wrapped lines", {"contents": "H4sIAAAA\nAAAAAAAA\n"}),
    _with(
        "every option",
        releaseName="podinfo-blue", targetNamespace="apps", createNamespace=False, action="Destroy",
        deletionPolicy="Orphan", atomic=False, wait=False, timeout="1h30m", forceUpgrade=True, dryRun=True,
        lastBreakingVersionRequiringRestart="1.2.0", valuesFiles=["/charts/a.yaml", "/charts/b.yaml"],
        yamlFilesContent=[{"filename": "a.yaml", "yamlContent": "a: 1"}, {"filename": "b.yaml", "yamlContent": ""}],
        values={"replicaCount": 2, "nodeSelector": None, "deep": {"list": [1, "two", None, {"a": None}]}},
        set=[{"key": "image.tag", "value": "1"}, {"key": "image.tag", "value": ""}],
        lifecycle={"name": "aws-vpc-cni"}, retry={"limit": 0, "backoff": "1500ms", "maxBackoff": "1.5m"},
    ),
    _with("a release name with dots", releaseName="podinfo.blue"),
    _with("the longest release name", releaseName="a" * 53),
    _with("the longest durations", timeout="24h", failFastGrace="1440m", retry={"backoff": "24h", "maxBackoff": "24h"}),
    _with("the shortest back-offs", retry={"backoff": "1s", "maxBackoff": "1000ms"}),
    _with("a duration of several units", timeout="1h30m5s20ms"),
    _with("a fraction that is not zero", timeout="0.001s"),
    _with("a short version", lastBreakingVersionRequiringRestart="v67"),
    _with("a version with pre-release and build", lastBreakingVersionRequiringRestart="1.2.3-rc.1+build.5"),
    _with("an empty object for a nested part", lifecycle={}, retry={}),
    _with(
        "objects left out of the wait", skipSchemaValidation=True,
        waitFor={"exclude": [
            {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "db", "namespace": "demo"},
            {"group": "", "kind": "Service"}, {"name": "web"},
        ]},
    ),
    _with("nothing left out of the wait", waitFor={}),
    _with("the longest list of what is left out", waitFor={"exclude": [{"name": "a" * 253}] * 64}),
    _with("empty lists and maps", valuesFiles=[], yamlFilesContent=[], set=[], values={}),
]  # fmt: skip

# The API server refuses these when they are written; the models read them where they were stored before.
BEYOND_BOUNDS = [
    _with("a timeout of two days", TIMEOUT, timeout="48h"),
    _with("a timeout a little too long", TIMEOUT, timeout="24h0.001s"),
    _with("the longest timeout that can be written", TIMEOUT, timeout="999999h999999h"),
    _with("a long grace", "failFastGrace can be at most 24h", failFastGrace="25h"),
    _with("a short back-off", BACKOFF, retry={"backoff": "100ms"}),
    _with("a long back-off", BACKOFF, retry={"backoff": "1441m"}),
    _with("a short longest back-off", "maxBackoff can be from 1s to 24h", retry={"maxBackoff": "999ms"}),
    _with("a long longest back-off", "maxBackoff can be from 1s to 24h", retry={"maxBackoff": "100h"}),
]

REFUSED = [
    Case("no chart", {}, "spec.chart: Required value"),
    _chart("no chart source", {}, ONE_SOURCE),
    _chart("path and repository", {**PATH, **REPOSITORY}, ONE_SOURCE),
    _chart("path and oci", {**PATH, **OCI}, ONE_SOURCE),
    _chart("oci and contents", {**OCI, **CONTENTS}, ONE_SOURCE),
    _chart("all sources", {**PATH, **REPOSITORY, **OCI, **CONTENTS}, ONE_SOURCE),
    _chart("repository without name", {"repository": "https://charts.example.org"}, "name goes with repository"),
    _chart("name without repository", {**PATH, "name": "podinfo"}, "name goes with repository"),
    _chart("version of a path", {**PATH, "version": "1.0.0"}, "version goes with repository or oci only"),
    _chart("version of contents", {**CONTENTS, "version": "1.0.0"}, "version goes with repository or oci only"),
    _chart("plainHTTP of a path", {**PATH, "plainHTTP": False}, "plainHTTP goes with oci only"),
    _chart("a relative path", {"path": "podinfo"}, POD_PATH),
    _chart("a path that climbs", {"path": "/charts/../etc"}, POD_PATH),
    _chart("a path that ends by climbing", {"path": "/charts/.."}, POD_PATH),
    _chart("an empty path", {"path": ""}, "spec.chart.path"),
    _chart("a repository without a scheme", {**REPOSITORY, "repository": "charts.example.org"}, REPOSITORY_URL),
    _chart("a repository with a password", {**REPOSITORY, "repository": "https://me:secret@host/charts"}, REPOSITORY_URL),
    _chart("an OCI repository as repository", {**REPOSITORY, "repository": "oci://host/charts"}, REPOSITORY_URL),
    _chart("a chart name with a slash", {**REPOSITORY, "name": "stable/podinfo"}, "spec.chart.name"),
    _chart("an empty version", {**REPOSITORY, "version": ""}, "spec.chart.version"),
    _chart("oci without its scheme", {"oci": "registry.example.org/podinfo"}, OCI_REFERENCE),
    _chart("oci with a tag", {"oci": "oci://registry.example.org/podinfo:6.14.1"}, OCI_REFERENCE),
    _chart("oci with a digest", {"oci": "oci://registry.example.org/podinfo@sha256:00"}, OCI_REFERENCE),
    _chart("oci of a host only", {"oci": "oci://registry.example.org:5000"}, OCI_REFERENCE),
    _chart("contents that are YAML", {"contents": "apiVersion: v2\nname: podinfo\n"}, PACKAGE),
    _chart("contents that are encoded twice", {"contents": "SDRzSUFBQUFBQUFBQXdNQUFBQUFBQUFBQUFBPQ=="}, PACKAGE),
    _chart("contents that are no base64", {"contents": "H4sIAAAA%"}, PACKAGE),
    _chart("empty contents", {"contents": ""}, "spec.chart.contents"),
    _chart("an unknown chart field", {**PATH, "chart": "podinfo"}, 'unknown field "spec.chart.chart"'),
    _with("an unknown field", 'unknown field "spec.targetNamspace"', targetNamspace="apps"),
    _with("a release name in capitals", RELEASE_NAME, releaseName="Podinfo"),
    _with("a release name that ends with a dot", RELEASE_NAME, releaseName="podinfo."),
    _with("a release name that is too long", "53", releaseName="a" * 54),
    _with("an empty release name", "spec.releaseName", releaseName=""),
    _with("a namespace with a dot", NAMESPACE, targetNamespace="a.b"),
    _with("a namespace that is too long", "63", targetNamespace="a" * 64),
    _with("an unknown action", '"Deploy", "Destroy", "Skip"', action="Install"),
    _with("an unknown deletion policy", '"Uninstall", "Orphan"', deletionPolicy="Keep"),
    _with("a timeout of zero", DURATION, timeout="0s"),
    _with("a timeout of zero in parts", DURATION, timeout="0h0.0m"),
    _with("a timeout without unit", DURATION, timeout="180"),
    _with("a negative timeout", DURATION, timeout="-5s"),
    _with("a timeout in days", DURATION, timeout="1d"),
    _with("an empty timeout", DURATION, timeout=""),
    _with("a timeout that overflows", DURATION, timeout="9999999h"),
    _with("a timeout as a number", "spec.timeout", timeout=180),
    _with("a word for true", "spec.atomic", atomic="yes"),
    _with("a number as text", "spec.retry.limit", retry={"limit": "5"}),
    _with("a negative limit", "greater than or equal to 0", retry={"limit": -1}),
    _with("a limit that is too high", "less than or equal to 1000", retry={"limit": 1001}),
    _with("a back-off of zero", DURATION, retry={"backoff": "0s"}),
    _with("a longest back-off of zero", DURATION, retry={"maxBackoff": "0m"}),
    _with("a version in words", SEMVER, lastBreakingVersionRequiringRestart="latest"),
    _with("a version with a leading zero", SEMVER, lastBreakingVersionRequiringRestart="1.02.0"),
    _with("a version with an empty pre-release part", SEMVER, lastBreakingVersionRequiringRestart="1.2.0-rc..1"),
    _with("a version with four parts", SEMVER, lastBreakingVersionRequiringRestart="1.2.3.4"),
    _with("a values file by a relative path", POD_PATH, valuesFiles=["/charts/a.yaml", "b.yaml"]),
    _with("a values file that climbs", POD_PATH, valuesFiles=["/charts/../../etc/passwd"]),
    _with("too many values files", "at most 64 items", valuesFiles=["/charts/a.yaml"] * 65),
    _with("set without a value", "spec.set[0].value: Required value", set=[{"key": "a"}]),
    _with("set with an empty key", "spec.set[0].key", set=[{"key": "", "value": "1"}]),
    _with("set with a number", "spec.set[0].value", set=[{"key": "a", "value": 1}]),
    _with("set as a map", "spec.set", set={"a": "1"}),
    _with("a file without a name", "[0].filename", yamlFilesContent=[{"filename": "", "yamlContent": ""}]),
    _with("a file without content", "yamlContent: Required value", yamlFilesContent=[{"filename": "a.yaml"}]),
    _with(
        "two files of one name", "Duplicate value",
        yamlFilesContent=[{"filename": "a.yaml", "yamlContent": "a: 1"}, {"filename": "a.yaml", "yamlContent": "a: 2"}],
    ),
    _with("an object that is left out by nothing", NAMES_NOTHING, waitFor={"exclude": [{}]}),
    _with("an object by version and group", GROUP_TWICE, waitFor={"exclude": [{"apiVersion": "v1", "group": ""}]}),
    _with("a group as apiVersion", "write apiVersion as in the", waitFor={"exclude": [{"apiVersion": "apps"}]}),
    _with("an apiVersion as group", "write the group without", waitFor={"exclude": [{"group": "apps/v1"}]}),
    _with("an object by an empty name", "spec.waitFor.exclude[0].name", waitFor={"exclude": [{"name": ""}]}),
    _with("what is left out as one object", "spec.waitFor.exclude", waitFor={"exclude": {"name": "web"}}),
    _with("too many objects left out", "at most 64 items", waitFor={"exclude": [{"name": "web"}] * 65}),
    _with("values as text", "spec.values", values="replicaCount: 2"),
    _with("values as a list", "spec.values", values=[1]),
    _with("a lifecycle by its bare name", "spec.lifecycle", lifecycle="default"),
    _with("a lifecycle without a name", "spec.lifecycle.name", lifecycle={"name": ""}),
]  # fmt: skip
