"""One message of an API server has one reason, whoever meets it first."""

import json

import pytest

from harness.api_server import refusal
from managedchart_operator.api_refusals import REFUSED, UNAVAILABLE, refusal_of
from managedchart_operator.diagnosis.apply_refusals import refused
from managedchart_operator.diagnosis.causes import cause_of_failed_create
from managedchart_operator.helm.errors.classify import classify
from managedchart_operator.hints import Names
from managedchart_operator.kube.answers import error_of
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason
from unit.diagnosis.pod_bodies import REPLICA_SET, event

TYPED = "failed to create typed patch object (a/web; apps/v1, Kind=Deployment):"
# Kubernetes 1.37, each with the status code with which the API server sends it.
SENTENCES: list[tuple[int, str, Reason, bool]] = [
    (
        500,
        'Internal error occurred: failed calling webhook "w": failed to call webhook: Post "https://w.a.svc:443/": EOF',
        Reason.WEBHOOK_UNAVAILABLE,
        True,
    ),
    (403, 'admission webhook "w" denied the request: no label', Reason.ADMISSION_REFUSED, False),
    (400, 'admission webhook "w" denied the request without explanation', Reason.ADMISSION_REFUSED, False),
    (
        422,
        "pods \"web\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no label",
        Reason.ADMISSION_REFUSED,
        False,
    ),
    (
        403,
        'pods "web" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
        Reason.ADMISSION_REFUSED,
        False,
    ),
    (
        403,
        'pods "web" is forbidden: maximum cpu usage per Container is 1, but limit is 4',
        Reason.ADMISSION_REFUSED,
        False,
    ),
    (
        403,
        'pods "web" is forbidden: cpu max limit to request ratio per Container is 2, but provided ratio is 4',
        Reason.ADMISSION_REFUSED,
        False,
    ),
    (
        403,
        'pods "web" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1',
        Reason.QUOTA_EXCEEDED,
        True,
    ),
    (403, 'pods "web" is forbidden: failed quota: q: must specify limits.cpu for: web', Reason.QUOTA_EXCEEDED, False),
    (
        403,
        'pods "web" is forbidden: error looking up service account a/web: serviceaccount "web" not found',
        Reason.ADMISSION_REFUSED,
        True,
    ),
    (403, 'pods "web" is forbidden: no PriorityClass with name urgent was found', Reason.ADMISSION_REFUSED, True),
    (
        403,
        'pods "web" is forbidden: unable to create new content in namespace a because it is being terminated',
        Reason.NAMESPACE_TERMINATING,
        True,
    ),
    (404, 'namespaces "a" not found', Reason.NAMESPACE_NOT_FOUND, True),
    (
        403,
        'pods is forbidden: User "u" cannot create resource "pods" in API group "" in the namespace "a"',
        Reason.FORBIDDEN,
        True,
    ),
    (403, 'forbidden: User "u" cannot get path "/version"', Reason.FORBIDDEN, True),
    (
        403,
        'users "x" is forbidden: User "u" cannot impersonate resource "users" in API group "" at the cluster scope',
        Reason.FORBIDDEN,
        True,
    ),
    (
        403,
        'roles "r" is forbidden: user "u" is attempting to grant RBAC permissions not currently held:\n{APIGroups:[""]}',
        Reason.FORBIDDEN,
        True,
    ),
    (409, 'Apply failed with 1 conflict: conflict with "kubectl" using v1: .data.a', Reason.FIELD_CONFLICT, False),
    (
        500,
        "failed to create typed patch object (a/web; apps/v1, Kind=Deployment): .spec.x: field not declared in schema",
        Reason.OBJECT_INVALID,
        False,
    ),
    (
        400,
        'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field X.y of type int32',
        Reason.OBJECT_INVALID,
        False,
    ),
    (400, 'strict decoding error: unknown field "spec.x"', Reason.OBJECT_INVALID, False),
    (
        422,
        'Deployment.apps "web" is invalid: spec.selector: Invalid value: {}: field is immutable',
        Reason.IMMUTABLE_FIELD,
        False,
    ),
    (
        422,
        "StatefulSet.apps \"web\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas'",
        Reason.IMMUTABLE_FIELD,
        False,
    ),
    (
        422,
        'Service "web" is invalid: spec.clusterIPs[0]: Invalid value: ["10.0.0.1"]: may not change once set',
        Reason.IMMUTABLE_FIELD,
        False,
    ),
    (
        422,
        'Widget.example.com "web" is invalid: spec: Invalid value: "object": size is immutable',
        Reason.IMMUTABLE_FIELD,
        False,
    ),
    (
        422,
        'Service "web" is invalid: spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated',
        Reason.OBJECT_INVALID,
        True,
    ),
    (422, 'Pod "web" is invalid: spec.containers: Required value', Reason.OBJECT_INVALID, False),
    (409, 'pods "web-0" already exists', Reason.OBJECT_OWNED, True),
    (409, 'object is being deleted: pods "web-0" already exists', Reason.OBJECT_OWNED, True),
    (401, "Unauthorized", Reason.API_UNAVAILABLE, True),
    (
        409,
        'Operation cannot be fulfilled on pods "web": the object has been modified; please apply your changes',
        Reason.API_UNAVAILABLE,
        True,
    ),
    (500, "etcdserver: request timed out", Reason.API_UNAVAILABLE, True),
    (429, "Too many requests, please try again later.", Reason.API_UNAVAILABLE, True),
]
IDS = [f"{status} {sentence[:60]}" for status, sentence, *_ in SENTENCES]


@pytest.mark.parametrize(("status", "sentence", "reason", "transient"), SENTENCES, ids=IDS)
def test_a_refusal_has_one_reason_everywhere(status: int, sentence: str, reason: Reason, *, transient: bool) -> None:
    """To a request of the operator, in helm's text, in a dry run, and in the Event of a controller."""
    known = refusal_of(sentence, about="Pod a/web", names=Names("Pod", "web", "a"))
    assert known
    assert (known.reason, known.transient) == (reason, transient)

    path = "/api/v1/namespaces/a/pods/web"
    ours = error_of(status, json.dumps(refusal(sentence, status)).encode(), method="PATCH", path=path)
    without_object = refusal_of(sentence, names=Names(namespace="a"))
    assert without_object
    assert (ours.reason, ours.transient, ours.hint) == (reason, transient, without_object.hint)

    helms = classify(
        f"Error: server-side apply failed for object a/web /v1, Kind=Pod: {sentence}", exit_code=1, command="upgrade"
    )
    assert (helms.reason, helms.transient, helms.hint) == (reason, transient, known.hint)
    assert helms.message == known.message

    dry_run = refused([(ObjectRef("v1", "Pod", "web", "a"), sentence)])
    assert (dry_run.reason, dry_run.transient, dry_run.hint) == (reason, transient, known.hint)
    assert dry_run.message == known.message

    cause = cause_of_failed_create(event("FailedCreate", f"Error creating: {sentence}", about=REPLICA_SET))
    assert cause.reason is reason


def test_every_row_has_a_sentence() -> None:
    """One that nothing reaches is a guess."""
    rows = (*REFUSED, *UNAVAILABLE)
    used = {next(row.pattern.pattern for row in rows if row.pattern.search(text)) for _, text, *_ in SENTENCES}
    assert [row.pattern.pattern for row in rows if row.pattern.pattern not in used] == []


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ('Widget "web" is invalid: it is too small', "Widget web: it is too small"),
        ("metadata.uid: field is immutable", "An object: metadata.uid: field is immutable"),
        (
            'Pod "web" is invalid: [spec.a: Required value, spec.b: Invalid value: {"x": 1}: must be a number]',
            "Pod web: spec.a: required value; spec.b: must be a number",
        ),
        (
            'strict decoding error: unknown field "spec.a", unknown field "spec.b.c"',
            "An object has no fields spec.a, spec.b.c",
        ),
        (TYPED + " .spec.x: field not declared in schema", "An object has no field .spec.x"),
        (
            TYPED + " errors:" + "".join(f"\n  .spec.{name}: field not declared in schema" for name in "abcdefg"),
            "An object has no fields .spec.a, .spec.b, .spec.c, .spec.d, .spec.e and 2 more",
        ),
        (
            TYPED + " errors:\n  .spec.a: expected string, got &value.valueUnstructured{Value:4711}"
            "\n  .spec.b: expected list, got map\n  .spec.c: field not declared in schema",
            "An object: .spec.a: expected string, got number; .spec.b: expected list, got map; .spec.c: no such field",
        ),
        (
            TYPED + " errors:" + "".join(f"\n  .spec.{name}: expected numeric, got string" for name in "abcdefg"),
            "An object: "
            + "; ".join(f".spec.{name}: expected numeric, got string" for name in "abcde")
            + "; and 2 more",
        ),
    ],
)
def test_an_invalid_object_is_named_with_its_fields(sentence: str, message: str) -> None:
    """Also where the API server names no field, as a webhook of a CRD may do; the values are left out."""
    known = refusal_of(sentence)
    assert known
    assert known.message == message


def test_other_texts_are_not_refusals() -> None:
    assert refusal_of("resource Deployment/a/web not ready. status: InProgress, message: Available: 0/1") is None
    assert refusal_of("") is None


def test_a_refusal_names_the_object_if_it_can() -> None:
    sentence = 'pods "web" is forbidden: exceeded quota: q, requested: pods=1'
    assert refusal_of(sentence, about="Pod a/web").message == "Quota q has no room for Pod a/web: requested: pods=1"  # type: ignore[union-attr]
    assert refusal_of(sentence).message == "Quota q has no room for pods web: requested: pods=1"  # type: ignore[union-attr]


def test_a_hint_has_a_command_only_with_known_names() -> None:
    quota, conflict = (
        "exceeded quota: q, requested: pods=1",
        'Apply failed with 1 conflict: conflict with "kubectl": .data.a',
    )
    assert refusal_of(quota).hint == "Raise the ResourceQuota, or request less."  # type: ignore[union-attr]
    known = refusal_of(quota, names=Names(namespace="apps"))
    assert known.hint == "Raise the ResourceQuota, or request less: kubectl -n apps describe resourcequota"  # type: ignore[union-attr]
    known = refusal_of(conflict, names=Names("ConfigMap", "web", "apps"))
    assert known.hint.endswith("creates it again: kubectl -n apps delete configmap web")  # type: ignore[union-attr]
    known = refusal_of(conflict, names=Names("ClusterRole", "web"))
    assert known.hint.endswith("creates it again: kubectl delete clusterrole web")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("problems", "advice"),
    [
        (".spec.a: field not declared in schema", ["Correct the field's name"]),
        (".spec.a: expected numeric, got string", ["Write each value in the type"]),
        ('.env: duplicate entries for key [name="A"]', ["Set each entry once", "spec.forceUpgrade: true"]),
        (
            "errors:\n  .a: expected numeric, got string\n  .b: field not declared in schema",
            ["Correct the field's name", "Write each value in the type"],
        ),
        (".spec.a: something new", []),
    ],
)
def test_the_hint_is_about_the_problems_of_the_object(problems: str, advice: list[str]) -> None:
    hint = refusal_of(f"{TYPED} {problems}").hint or ""  # type: ignore[union-attr]
    for sentence in (
        "Correct the field's name",
        "Write each value in the type",
        "Set each entry once",
        "spec.forceUpgrade: true",
    ):
        assert (sentence in hint) is (sentence in advice)
