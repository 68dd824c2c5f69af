"""Every hint about an error of helm can be followed as it is: its command has real names, or there is none."""

import re

import pytest

from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.helm.errors.classify import classify
from managedchart_operator.helm.errors.missing_kinds import is_built_in
from managedchart_operator.hints import Hint, Names
from unit.helm.test_errors import OUTPUTS, QUOTED, command_of

TEXTS = {
    **{name: path.read_text().partition("\n")[2] for name, path in OUTPUTS.items()},
    **{text[:60]: f"Error: {text}\n" for text in QUOTED},
}
# What a hint may have in capitals: names of things, and a part of a variable's name.
ADOPT = "kubectl -n ns3 annotate configmap web --overwrite " + " ".join(
    f"meta.helm.sh/{mark}" for mark in ("release-name=web", "release-namespace=apps")
)
CAPITALS = {"URL", "TLS", "CRD", "CRDs", "YAML", "LimitRange", "ResourceQuota", "SSL_CERT_FILE", "API", "README"}


def hint_of(name: str, *, release: str = "web", namespace: str = "apps") -> str | None:
    exit_code = int(OUTPUTS[name].read_text().partition("\n")[0].removeprefix("# exit ")) if name in OUTPUTS else 1
    error = classify(TEXTS[name], exit_code=exit_code, command=command_of(name), release=release, namespace=namespace)
    return error.hint


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("release", ["web", ""])
def test_a_hint_has_no_placeholder(name: str, release: str) -> None:
    """All rows of the table are reached by one of these texts (test_errors.py)."""
    hint = hint_of(name, release=release, namespace=release and "apps") or ""
    assert "{" not in hint
    assert {word for word in re.findall(r"\b[A-Z_]{3,}\b", hint) if word not in CAPITALS} == set()


@pytest.mark.parametrize("name", [name for name in TEXTS if hint_of(name)])
def test_a_hint_is_a_sentence(name: str) -> None:
    """A full stop after a command at its end would be pasted with it."""
    hint = hint_of(name) or ""
    assert hint[0].isupper()
    ends_in_command = re.search(r": (?:kubectl|helm) [^:]*$", hint) is not None
    assert hint.endswith((".", ".)")) is not ends_in_command


@pytest.mark.parametrize("name", [name for name in TEXTS if "spec." in (hint_of(name) or "")])
def test_a_hint_names_only_existing_fields(name: str) -> None:
    """A hint must be possible in this version."""
    schema = ManagedChartSpec.model_json_schema()
    for path in re.findall(r"spec\.((?:\w+\.)*\w+)", hint_of(name) or ""):
        node = schema
        for field in path.split("."):
            node = node["properties"][field]
            reference = node.get("$ref") or next((one["$ref"] for one in node.get("anyOf", ()) if "$ref" in one), "")
            node = schema["$defs"][reference.rpartition("/")[2]] if reference else node


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("quota-exceeded", "kubectl -n ns31 describe resourcequota"),
        ("namespace-terminating", "kubectl get namespace ns14 -o yaml"),
        ("field-conflict", "kubectl -n ns6 delete configmap web"),
        ("hook-failed", "kubectl -n ns51 logs job/web-pre"),
        ("uninstall-hook-failed", "kubectl -n ns62 logs job/bye"),
        ("uninstall-blocked", "kubectl -n ns59 get configmap kept -o yaml"),
        ("rollback-kind-gone", "helm mapkubeapis web --namespace apps"),
        ("kind-removed", "kubectl api-resources"),
        (
            "owned-by-nobody",
            ADOPT,
        ),
    ],
)
def test_a_command_has_the_names_of_the_error(name: str, command: str) -> None:
    assert (hint_of(name) or "").endswith((f": {command}", f" && {command}"))


def test_a_hint_without_a_needed_name_has_no_command() -> None:
    hint = Hint("Look", "kubectl {at}get {kind} {name}")
    assert hint.with_names(Names("Pod", "", "apps")) == "Look."
    assert hint.with_names(Names("Pod", "web", "apps")) == "Look: kubectl -n apps get pod web"
    assert hint.with_names(Names("Node", "web")) == "Look: kubectl get node web"


@pytest.mark.parametrize(
    ("api_version", "built_in"),
    [
        ("v1", True),
        ("policy/v1beta1", True),
        ("extensions/v1beta1", True),
        ("batch/v1beta1", True),
        ("autoscaling/v2beta1", True),
        ("rbac.authorization.k8s.io/v1beta1", True),
        ("flowcontrol.apiserver.k8s.io/v1beta3", True),
        ("networking.k8s.io/v1beta1", True),
        ("gateway.networking.k8s.io/v1", False),
        ("snapshot.storage.k8s.io/v1", False),
        ("metrics.k8s.io/v1beta1", False),
        ("monitoring.coreos.com/v1", False),
    ],
)
def test_only_kubernetes_own_groups_are_built_in(api_version: str, *, built_in: bool) -> None:
    """Its projects bring CRDs whose groups end in k8s.io too."""
    assert is_built_in(api_version) is built_in


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kind-missing", ["Install the CRD first"]),
        ("kinds-missing", ["Install their CRDs first"]),
        ("kind-removed", ["made for this version of Kubernetes; no CRD can add a kind of Kubernetes itself"]),
        (
            "kinds-removed-and-missing",
            ["Install the CRDs of the other kinds first", "no CRD can add Ingress of extensions/v1beta1"],
        ),
        ("template-no-include", ["No value helps", "library chart"]),
        ("template-template-missing", ["No value helps", "library chart"]),
        ("template-no-include-in-tpl", ["Correct the value that names the template", "library chart"]),
        ("template-no-function", ["No value helps"]),
        ("template-nil", ["Set the value"]),
        ("manifest-with-boolean-label", ["Quote the value", "y, yes, no"]),
        ("duplicate-env", ["Set each entry once", "spec.forceUpgrade: true"]),
        ("owned-by-another-release", ["two releases cannot share an object"]),
    ],
)
def test_a_hint_names_what_helps(name: str, words: list[str]) -> None:
    for word in words:
        assert word in (hint_of(name) or "")


def test_all_missing_kinds_of_a_stored_revision_are_named() -> None:
    gone = TEXTS["kinds-removed-and-missing"].replace("release manifest", "current release manifest")
    message = classify(gone, exit_code=1, command="uninstall").message
    assert message == (
        "A stored revision of the release has Ingress web of extensions/v1beta1, Gateway gate of gateway.networking.k8s.io/v1, "
        "kinds that the cluster no longer knows"
    )


def test_a_removed_kind_of_a_stored_revision_needs_no_crd() -> None:
    text = TEXTS["rollback-kind-gone"].replace("gone.managedchart.dev/v1", "policy/v1beta1")
    hint = classify(text, exit_code=1, command="rollback", release="web", namespace="apps").hint or ""
    assert hint.startswith("Remove the object from the stored revision")


@pytest.mark.parametrize("name", OUTPUTS)
def test_helm_is_written_alike(name: str) -> None:
    """As a name in sentences, as a word in commands."""
    exit_code = int(OUTPUTS[name].read_text().partition("\n")[0].removeprefix("# exit "))
    error = classify(TEXTS[name], exit_code=exit_code, command=command_of(name), release="web", namespace="apps")
    commands = r"(?!\.sh| (?:pull|dependency|template|mapkubeapis)\b)"
    assert re.findall(rf"\bhelm\b{commands}", f"{error.message} {error.hint or ''}") == []
