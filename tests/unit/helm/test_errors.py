"""Every failure that the real helm was seen to report is named, worded and known to be worth another attempt or not.

The texts in outputs/ are helm's own (record_outputs.py); what could not be provoked is quoted here.
"""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.errors.classify import TABLE, blames_storage, classify
from managedchart_operator.helm.errors.foreign import SCHEMA_ERROR as SCHEMA
from managedchart_operator.helm.errors.pulled import without_answers
from managedchart_operator.helm.errors.text import MAX_MESSAGE, MAX_TEXT, error_part, in_order
from managedchart_operator.reasons import Reason

OUTPUTS = {path.stem: path for path in sorted((Path(__file__).parent / "outputs").glob("*.txt"))}
EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "outputs" / "expected.yaml").read_text())

# Texts of API servers and of helm's network code that a test cluster does not produce, each with its source.
QUOTED = {
    # lookup without the permission (4.3.1 with 1.37, seen)
    'template: small/templates/a.yaml:4:24: executing "small/templates/a.yaml" at <lookup "v1" "Secret" "team-b" "db">: error'
    ' calling lookup: secrets "db" is forbidden: User "system:serviceaccount:team-a:deployer" cannot get resource "secrets" in'
    ' API group "" in the namespace "team-b"': Reason.FORBIDDEN,
    # pkg/endpoints/filters/impersonation: as of 1.36, and before
    'query: failed to query with labels: secrets is forbidden: User "system:serviceaccount:ops:operator" cannot'
    ' impersonate-on:serviceaccount:list resource "secrets" in API group "" in the namespace "a"': Reason.FORBIDDEN,
    'query: failed to query with labels: serviceaccounts "deployer" is forbidden: User "system:serviceaccount:ops:operator"'
    ' cannot impersonate resource "serviceaccounts" in API group "" in the namespace "a"': Reason.FORBIDDEN,
    # client-go and apiserver: pkg/registry/core, storage
    'server-side apply failed for object a/web /v1, Kind=ConfigMap: Operation cannot be fulfilled on configmaps "web": '
    "the object has been modified; please apply your changes to the latest version and try again": Reason.API_UNAVAILABLE,
    "query: failed to query with labels: etcdserver: leader changed": Reason.API_UNAVAILABLE,
    "create: failed to create: rpc error: code = Unavailable desc = etcdserver: request timed out": Reason.API_UNAVAILABLE,
    'query: failed to query with labels: Get "https://10.0.0.1:443/api/v1/x": net/http: TLS handshake timeout': (
        Reason.API_UNAVAILABLE
    ),
    'Get "https://10.0.0.1:443/version": dial tcp 10.0.0.1:443: i/o timeout': Reason.API_UNAVAILABLE,
    'Get "https://10.0.0.1:443/version": read tcp 10.1.0.2:4->10.0.0.1:443: read: connection reset by peer': (
        Reason.API_UNAVAILABLE
    ),
    "http2: client connection lost": Reason.API_UNAVAILABLE,
    "the server has received too many requests and has asked us to try again later": Reason.API_UNAVAILABLE,
    "the server was unable to return a response in the time allotted, but may still be processing the request": (
        Reason.API_UNAVAILABLE
    ),
    # apiserver/pkg/util/webhook, aggregated routing
    "server-side apply failed for object a/web /v1, Kind=ConfigMap: Internal error occurred: failed calling webhook "
    '"validate.nginx.ingress.kubernetes.io": failed to call webhook: Post "https://ingress.nginx.svc:443/v1?timeout=10s": '
    'no endpoints available for service "ingress"': Reason.WEBHOOK_UNAVAILABLE,
    # apps/validation before Kubernetes 1.32, and client-side apply
    'cannot patch "web" with kind StatefulSet: StatefulSet.apps "web" is invalid: spec: Forbidden: updates to statefulset '
    "spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy' are forbidden": Reason.IMMUTABLE_FIELD,
    # plugin/pkg/admission/resourcequota
    'server-side apply failed for object a/web /v1, Kind=Pod: pods "web" is forbidden: failed quota: cpu: must specify '
    "limits.cpu for: web": Reason.QUOTA_EXCEEDED,
    # plugin/pkg/admission/priority
    'server-side apply failed for object a/web /v1, Kind=Pod: pods "web" is forbidden: no PriorityClass with name urgent was '
    "found": Reason.ADMISSION_REFUSED,
    # plugin/pkg/admission/serviceaccount
    'server-side apply failed for object a/web /v1, Kind=Pod: pods "web" is forbidden: error looking up service account '
    'a/web: serviceaccount "web" not found': Reason.ADMISSION_REFUSED,
    # client-go (rest/request.go), by which helm looks for each object (measured with 4.3.1)
    'unable to continue with install: could not get information about the resource ConfigMap "a/b" in namespace "default": '
    """invalid resource name "a/b": [may not contain '/']""": Reason.OBJECT_INVALID,
    # apiserver/pkg/endpoints/handlers/responsewriters: a path instead of a resource
    'kubernetes cluster unreachable: forbidden: User "u" cannot get path "/version"': Reason.FORBIDDEN,
    # client-go, to helm's own question for the API server
    "kubernetes cluster unreachable: the server has asked for the client to provide credentials": Reason.API_UNAVAILABLE,
    # helm, client-side creation (pkg/kube/client.go)
    'failed to create resource: configmaps "web" already exists': Reason.OBJECT_OWNED,
    'error validating data: unknown field "spec.replicaz"': Reason.OBJECT_INVALID,
    # client-side apply (measured with 4.3.1 and forceUpgrade)
    'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field '
    "DeploymentSpec.spec.replicas of type int32": Reason.OBJECT_INVALID,
    # helm, waiting for Jobs (pkg/kube)
    "resource Job/a/migrate not ready. status: Failed, message: Job Failed. failed: 7/1": Reason.JOB_BACKOFF_LIMIT,
    "job migrate failed: BackoffLimitExceeded": Reason.JOB_BACKOFF_LIMIT,
}
# Errors of `helm pull`: of helm 4.3.1 (pkg/registry) and oras-go, with servers that answer something else (seen with a script).
QUOTED_PULLS = {
    "could not load config with mediatype application/vnd.cncf.helm.config.v1+json": Reason.CHART_INVALID,
    'failed to perform "FetchReference" on source: GET "http://h/v2/web/manifests/1.0.0": invalid content length': (
        Reason.CHART_SOURCE_UNAVAILABLE
    ),
    'Get "http://127.0.0.1:8/": dial tcp 127.0.0.1:8: connect: permission denied': Reason.CHART_SOURCE_NOT_ALLOWED,
    "something that no version of helm has said so far": Reason.CHART_SOURCE_UNAVAILABLE,
}


def classified(name: str) -> HelmError:
    head, _, text = OUTPUTS[name].read_text().partition("\n")
    return classify(text, exit_code=int(head.removeprefix("# exit ")), command=command_of(name))


def command_of(name: str) -> str:
    commands = {"repository": "pull", "registry": "pull", "uninstall": "uninstall", "rollback": "rollback"}
    return commands.get(name.partition("-")[0], "upgrade")


def test_every_recorded_output_has_its_expectation() -> None:
    assert set(EXPECTED) == set(OUTPUTS)


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_recorded_failure_is_named_and_worded(name: str) -> None:
    error = classified(name)
    assert {"reason": error.reason, "transient": error.transient, "message": error.message} == EXPECTED[name]


@pytest.mark.parametrize("name", OUTPUTS)
def test_messages_are_bounded_and_without_log_lines(name: str) -> None:
    error = classified(name)
    assert 0 < len(error.message) <= MAX_MESSAGE
    assert len(error.text) <= MAX_TEXT
    assert "level=" not in error.text
    assert "\n" not in error.message
    assert "None" not in error.message


@pytest.mark.parametrize(("text", "reason"), QUOTED.items())
def test_a_quoted_failure_is_named(text: str, reason: Reason) -> None:
    error = classify(f"Error: UPGRADE FAILED: {text}\n", exit_code=1, command="upgrade")
    assert error.reason is reason


@pytest.mark.parametrize(("text", "reason"), QUOTED_PULLS.items())
def test_a_quoted_failure_of_a_pull_is_named(text: str, reason: Reason) -> None:
    assert classify(f"Error: {text}\n", exit_code=1, command="pull").reason is reason


def test_every_row_of_the_table_is_used() -> None:
    """Each row decides at least one text that was seen or quoted; a row that nothing reaches is a guess."""
    texts = [(error_part(path.read_text().partition("\n")[2]), command_of(name)) for name, path in OUTPUTS.items()]
    texts += [*((text, "upgrade") for text in QUOTED), *((text, "pull") for text in QUOTED_PULLS)]
    texts = [(without_answers(text) if command == "pull" else text, command) for text, command in texts]
    used = set()
    for text, command in texts:
        rows = (row for row in TABLE if not row.commands or command in row.commands)
        used.add(next((id(row) for row in rows if row.pattern.search(text)), 0))
    assert [row.pattern.pattern for row in TABLE if id(row) not in used] == []


def test_an_unknown_error_is_retried() -> None:
    error = classify("level=DEBUG msg=x\nError: UPGRADE FAILED: one\ntwo and three\n\n", exit_code=1, command="upgrade")
    assert (error.reason, error.transient) == (Reason.HELM_FAILED, True)
    assert error.message == "Helm upgrade failed: two and three"
    assert error.text == "one\ntwo and three"


def test_without_output_the_exit_code_is_named() -> None:
    error = classify("", exit_code=3, command="rollback")
    assert error.message == "Helm rollback failed without any error output (exit code 3)"


def test_a_killed_helm_process_names_its_signal() -> None:
    """Its earlier output does not matter: a kill is not an error of the chart."""
    error = classify("Error: values don't meet", exit_code=-9, command="upgrade")
    assert error.message == "Helm upgrade was killed by SIGKILL before it finished"
    assert error.hint
    assert error.exit_code == -9
    assert "SIGTERM" in classify("", exit_code=-15, command="pull").message
    assert "signal 99" in classify("", exit_code=-99, command="pull").message


def test_a_long_text_keeps_head_and_tail() -> None:
    error = classify("Error: the beginning " + "x" * 20_000 + " the end", exit_code=1, command="upgrade")
    assert len(error.text) <= 4096
    assert error.text.startswith("the beginning")
    assert error.text.endswith("the end")


@pytest.mark.parametrize("about", ["", 'configmaps "web" is invalid: ', "/web.yaml:1:1\n  executing "])
@pytest.mark.parametrize("word", ["x", "x1", "a.", ":1"])
def test_a_long_word_costs_bounded_time(word: str, about: str) -> None:
    """The API server may print a whole file in base64, and the error is classified in the event loop."""
    text = f"Error: {about}{word * (50_000 // len(word))} "
    began = time.process_time()
    assert classify(text, exit_code=1, command="upgrade").message
    assert time.process_time() - began < 5


@pytest.mark.parametrize("beginning", ["/v2/", "current release manifest ", "YAML parse error on ", 'for name: "'])
def test_a_chart_cannot_make_its_error_expensive(beginning: str) -> None:
    """By `fail` with a text that begins as the patterns do, again and again; helm's error has at most 190 kB."""
    text = f"Error: {beginning * (190_000 // len(beginning))}"
    began = time.process_time()
    assert classify(text, exit_code=1, command="upgrade").message
    assert time.process_time() - began < 5


def test_messages_contain_no_values_from_the_api_server() -> None:
    """It prints the whole pod template of an immutable Job, which may have a password in an environment variable."""
    assert "registry.example" in classified("immutable-job").text
    assert classified("immutable-job").message == "Job ns26/job: spec.template: field is immutable"


def test_errors_of_pull_are_not_the_api_servers() -> None:
    text = 'Error: Get "https://host/x": dial tcp 10.0.0.1:443: connect: connection refused'
    assert classify(text, exit_code=1, command="pull").reason is Reason.CHART_SOURCE_UNAVAILABLE
    assert classify(text, exit_code=1, command="upgrade").reason is Reason.API_UNAVAILABLE


REFUSING = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **{name: {"type": "string"} for name in "abcde"},
        "deep": {"anyOf": [{"properties": {"x": {"type": "string"}, "y": {"type": "string"}}}, {"type": "string"}]},
    },
}
REFUSED = {**dict.fromkeys("abcde", 1), "deep": {"x": 1, "y": 2}, "unknown": 1, "other": 2}


def test_a_schema_error_has_a_stable_message(helm_binary: str, tmp_path: Path) -> None:
    """helm's order differs each time, so status and Events would change without a reason."""
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: one\nversion: 1.0.0\n")
    (tmp_path / "values.schema.json").write_text(json.dumps(REFUSING))
    (tmp_path / "values.json").write_text(json.dumps(REFUSED))
    command = [helm_binary, "template", "x", str(tmp_path), f"--values={tmp_path}/values.json"]
    said = {subprocess.run(command, capture_output=True, check=False).stderr.decode() for _ in range(12)}
    told = {(error.message, error.text) for text in said for error in [classify(text, exit_code=1, command="upgrade")]}
    assert len(said) > 1, "helm has got an order of its own"
    [(message, text)] = told
    assert message == (
        "The chart's schema refuses the values: one: the top level: additional properties 'other', 'unknown' not allowed; "
        "one: a: got number, want string; one: b: got number, want string; one: c: got number, want string; "
        "one: d: got number, want string; and 6 more"
    )
    assert text.endswith("- at '/e': got number, want string")


def test_details_stay_below_their_schema_error() -> None:
    lines = ["- at '/b': two", "  - at '/z': late", "  - at '/b/a': early", "    - at '/m': deep", "- at '/a': one"]
    text = "values don't meet the specifications of the schema(s) in the following chart(s):\nweb:\n"
    assert in_order(text + "\n".join(lines)) == text + "\n".join([lines[i] for i in (4, 0, 2, 3, 1)])
    assert in_order("\n".join(lines)) == "\n".join(lines)


def test_a_login_error_lists_the_alternatives() -> None:
    [hint] = {row.hint for row in TABLE if row.reason is Reason.CHART_SOURCE_UNAUTHORIZED}
    assert hint
    for way in ("spec.chart.contents", "spec.chart.path", "mirror"):
        assert way in hint


def test_many_unready_resources_are_counted() -> None:
    lines = [
        f"resource Deployment/a/d{number} not ready. status: InProgress, message: Available: 0/1" for number in range(9)
    ]
    error = classify("Error: " + "\n".join([*lines, "context deadline exceeded"]), exit_code=1, command="upgrade")
    assert error.message.endswith("Deployment a/d4 (Available: 0/1); and 4 more")


def test_schema_errors_of_any_nesting_are_reported() -> None:
    """A schema of so many levels that each line stands below the one before."""
    lines = [" " * level + f"- at '/a{level}': no" for level in range(1, 700)]
    assert in_order("\n".join([SCHEMA, *lines])).splitlines()[1:] == lines


@pytest.mark.parametrize(
    ("name", "blamed"),
    [
        ("upgrade-from-a-kind-gone", True),
        ("uninstall-kind-gone", True),
        ("uninstall-hook-of-a-kind-gone", True),
        ("rollback-kind-gone", True),
        ("rollback-kind-gone-since", False),
        ("kind-missing", False),
        ("kind-missing-version", False),
        ("api-503", False),
        ("uninstall-forbidden", False),
    ],
)
def test_storage_is_blamed_only_for_stored_objects(name: str, blamed: bool) -> None:
    """If the new chart renders the kind, a change of the stored revisions would not help."""
    assert blames_storage(classified(name), command=command_of(name)) is blamed
