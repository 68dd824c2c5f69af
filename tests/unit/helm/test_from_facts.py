"""Errors from facts have the reason and the message of helm's error."""

import pytest

from managedchart_operator.diagnosis.apply_refusals import Refusal, line_of_helm, refused
from managedchart_operator.errors import HelmError
from managedchart_operator.helm.errors.classify import classify
from managedchart_operator.helm.errors.text import MAX_MESSAGE, MAX_TEXT
from managedchart_operator.helm.errors.unready import Unready, not_ready
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason

WEB = Unready("Deployment", "apps", "web", "InProgress", "Available: 0/1")
CRD = Unready("CustomResourceDefinition", "", "a.example.com", "Failed", "no such name")
JOB = Unready("Job", "apps", "migrate", "Failed", "Job Failed. failed: 7/1")
SILENT = Unready("Widget", "apps", "w", "InProgress", "")


def by_helm(text: str) -> HelmError:
    return classify(f"level=DEBUG msg=x\nError: UPGRADE FAILED: {text}\n", exit_code=1, command="upgrade")


@pytest.mark.parametrize("timed_out", [True, False])
@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        ([WEB], Reason.TIMEOUT),
        ([WEB, SILENT, CRD], Reason.TIMEOUT),
        ([WEB, JOB], Reason.JOB_BACKOFF_LIMIT),
        (
            [Unready("Deployment", "apps", f"d{number}", "InProgress", "Ready: 0/1") for number in range(9)],
            Reason.TIMEOUT,
        ),
    ],
    ids=["one", "cluster-wide and silent", "a failed Job", "many"],
)
def test_not_ready_gives_the_error_of_helms_text(objects: list[Unready], reason: Reason, *, timed_out: bool) -> None:
    error = not_ready(objects, timed_out=timed_out)
    assert error.reason is reason
    assert vars(error) == vars(by_helm(error.text))


SECRET = Unready("ExternalSecret", "demo", "x", "InProgress", "the secret has no version yet")


@pytest.mark.parametrize(
    ("objects", "hint"),
    [
        (
            [WEB, SECRET],
            (
                "If ExternalSecret demo/x is not meant to become ready, leave it out of the wait: add "
                "{kind: ExternalSecret, name: x, namespace: demo} to spec.waitFor.exclude, or annotate it in the chart with "
            ),
        ),
        (
            [Unready("Issuer", "", f"i{number}", "Failed", "") for number in range(5)],
            (
                "If Issuer i0, Issuer i1, Issuer i2 and 2 more are not meant to become ready, leave them out of the wait: add "
                "entries like {kind: Issuer, name: i0} to spec.waitFor.exclude, or annotate them in the chart with "
            ),
        ),
        ([WEB], None),
        ([CRD], None),
        ([Unready("Widget", "apps", "w", "NotFound", "Resource not found")], None),
        ([SECRET, JOB], None),
    ],
    ids=["a custom resource", "several", "a workload", "a definition", "deleted", "a failed Job"],
)
def test_a_timeout_says_how_to_leave_out_custom_resources(objects: list[Unready], hint: str | None) -> None:
    """Only their controllers decide what ready means; a workload that is not ready has another cause."""
    assert not_ready(objects, timed_out=True).hint == (hint and f'{hint}managedchart.dev/wait: "false".')


def test_a_status_is_not_an_api_server_error() -> None:
    """The controller of a custom resource may write anything into its status; the release is not ready, whatever it says."""
    status = 'pods "x" is forbidden: exceeded quota: cpu, requested: cpu=1'
    error = not_ready([Unready("Widget", "apps", "w", "InProgress", status)], timed_out=True)
    assert error.reason is Reason.TIMEOUT
    assert error.message == f"Not ready within the timeout: Widget apps/w ({status})"


def test_only_the_first_line_of_a_status_is_shown() -> None:
    message = not_ready([Unready("Widget", "apps", "w", "InProgress", "one\ntwo")], timed_out=False).message
    assert message == "Failed to become ready: Widget apps/w (one)"


REFUSALS = {
    'Deployment.apps "web" is invalid: spec.selector: Invalid value: {"a":"b"}: field is immutable': Reason.IMMUTABLE_FIELD,
    'Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must be positive': Reason.OBJECT_INVALID,
    'pods "web" is forbidden: exceeded quota: cpu, requested: cpu=1, used: cpu=0, limited: cpu=0': Reason.QUOTA_EXCEEDED,
    'admission webhook "a.example.com" denied the request: not today': Reason.ADMISSION_REFUSED,
    'namespaces "apps" not found': Reason.NAMESPACE_NOT_FOUND,
    'deployments.apps "web" is forbidden: User "x" cannot patch resource "deployments" in API group "apps" in the namespace '
    '"apps"': Reason.FORBIDDEN,
    'Apply failed with 1 conflict: conflict with "kubectl": .spec.replicas': Reason.FIELD_CONFLICT,
    "failed to create typed patch object (apps/web; apps/v1, Kind=Deployment): .spec.replicaz: field not declared in schema": (
        Reason.OBJECT_INVALID
    ),
}


CONVERSION = 'conversion webhook for a/v1, Kind=B failed: Post "https://c"'


def refusal(answer: str, *, namespace: str = "apps", name: str = "web") -> Refusal:
    return ObjectRef("apps/v1", "Deployment", name, namespace), answer


@pytest.mark.parametrize(("answer", "reason"), REFUSALS.items())
@pytest.mark.parametrize("namespace", ["apps", ""])
def test_a_refusal_gives_the_error_of_helms_text(answer: str, reason: Reason, namespace: str) -> None:
    error = refused([refusal(answer, namespace=namespace)])
    assert error.reason is reason
    assert "Deployment" in error.text
    assert vars(error) == vars(by_helm(error.text))


@pytest.mark.parametrize(
    ("answer", "reason", "transient"),
    [
        ("Request entity too large: limit is 3145728", Reason.RELEASE_TOO_LARGE, False),
        ("etcdserver: request is too large", Reason.RELEASE_TOO_LARGE, False),
        (f"{CONVERSION}: x509: unknown authority", Reason.CERTIFICATE_NOT_TRUSTED, False),
        (f"{CONVERSION}: context deadline exceeded", Reason.API_UNAVAILABLE, True),
        ('no matches for kind "B" in version "a/v1"', Reason.KIND_MISSING, True),
    ],
)
def test_other_answers_have_the_reason_of_helms_text(answer: str, reason: Reason, *, transient: bool) -> None:
    error = refused([refusal(answer)])
    assert (error.reason, error.transient) == (reason, transient)


def test_the_first_row_that_fits_any_refusal_decides() -> None:
    """As in one text of helm's with all of them; the sentence is about the object that the row fits."""
    immutable, invalid, *_ = REFUSALS
    error = refused([refusal(invalid, name="one"), refusal(immutable, name="two")])
    assert error.reason is Reason.IMMUTABLE_FIELD
    assert error.message.startswith("Deployment apps/two: spec.selector: field is immutable (1 more refused")
    assert vars(error) == vars(by_helm(error.text))


def test_a_core_kind_is_written_as_helm_writes_it() -> None:
    found = line_of_helm(ObjectRef("v1", "ConfigMap", "a", "apps"), "no")
    assert found == "server-side apply failed for object apps/a /v1, Kind=ConfigMap: no"


def test_an_unknown_refusal_is_quoted() -> None:
    """Helm was not run, so it is not said to have failed."""
    error = refused([refusal("I am a teapot"), refusal("so am I")])
    assert error.message == "The API server refuses Deployment apps/web: I am a teapot (1 more refused; see helmError)"
    assert (error.reason, error.transient) == (Reason.HELM_FAILED, True)


def test_messages_and_texts_are_bounded() -> None:
    for error in (
        refused([refusal("x" * 9999)]),
        not_ready([Unready("Widget", "apps", "w", "Failed", "x" * 9999)], timed_out=True),
    ):
        assert len(error.message) <= MAX_MESSAGE
        assert len(error.text) <= MAX_TEXT
