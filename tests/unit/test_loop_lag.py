"""S8, S9, S19, S20: what a tenant writes holds up the event loop for less than 0.1 s, where it is read in a thread."""

import random
from typing import Any

import pytest

from harness.loop_lag import MAX_SECONDS, in_thread
from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.errors import SpecError
from managedchart_operator.helm.errors.classify import classify
from managedchart_operator.helm.process import STDERR_HEAD_BYTES, STDERR_TAIL_BYTES
from managedchart_operator.helm.values import read_values
from managedchart_operator.kube.answers import error_of
from managedchart_operator.reconcile.digest import digest_of, digest_without_inputs
from managedchart_operator.reconcile.parse import parse_spec
from managedchart_operator.redaction import Redactor, secrets_in_manifest

KIB = 1024
RAW = STDERR_HEAD_BYTES + STDERR_TAIL_BYTES

SPECS: dict[str, dict[str, Any]] = {
    "lists": {"values": {"a": [[] for _ in range(99_000)]}},
    "numbers": {"values": {"a": [1] * 99_000}},
    "names": {"values": {str(number): 1 for number in range(49_000)}},
    "one text": {"values": {"a": "x" * 1_400_000}},
    "quotes": {"values": {"a": '"' * 700_000}},
    "files": {
        "yamlFilesContent": [
            {"filename": f"{n}", "yamlContent": "x" * 99 + ": [" + "1," * 400 + "]"} for n in range(60)
        ]
    },
    "indexes": {"set": [{"key": f"k{number}[1000]", "value": "x"} for number in range(90)]},
    "index": {"set": [{"key": f"k[{number}]", "value": "x"} for number in range(65_280, 65_536)]},
    "texts": {"set": [{"key": f"k{number}", "value": "x" * 5000} for number in range(256)]},
}


@pytest.mark.parametrize("given", SPECS.values(), ids=list(SPECS))
async def test_no_values_hold_up_the_loop(given: dict[str, Any]) -> None:
    """S8: what a pass does with them, also one in sync: read, merge, digest, encode."""
    spec = ManagedChartSpec.model_validate({"chart": {"path": "/x"}, **given})

    def read() -> None:
        values = read_values(files=[], yaml_files=spec.yaml_files_content, values=spec.values, set_values=spec.set)
        digest = digest_of(spec, chart="c", values=values)
        assert digest.version_1 is not None
        assert digest.version_1()
        assert values.text or values.merged()

    assert await in_thread(read) <= MAX_SECONDS
    assert await in_thread(digest_without_inputs, spec) <= MAX_SECONDS


def repeated(part: str, size: int) -> str:
    return (part * (size // len(part) + 1))[:size]


HELM = [
    *(
        "a:1:1",
        "chart requires kubeVersion: ",
        "template: x:1: executing at <",
        'resource mapping not found for name: "a"',
    ),
    *("\nfailed pre-x: resource ", "not ready. status: ", "\npre-x: ", 'conflicts with "a', "http://", 'looks like "a'),
    *(
        "failed to create typed patch object ",
        "is invalid: ",
        "a: Invalid value: ",
        "- at '",
        'msg="uninstall: ',
        "{APIGroups:",
    ),
]


@pytest.mark.parametrize("part", HELM)
@pytest.mark.parametrize("command", ["upgrade", "pull"])
async def test_no_error_text_holds_up_the_loop(part: str, command: str) -> None:
    """S9: a label that a chart repeats, which the API server and then helm repeat; an index of a repository."""
    for head in (
        "Error: ",
        "Error: values don't meet the specifications of the schema(s) in the following chart(s):\n",
    ):
        text = head + repeated(part, RAW)
        assert await in_thread(classify, text, exit_code=1, command=command) <= MAX_SECONDS
    assert await in_thread(error_of, 422, repeated(part, KIB * KIB).encode(), method="GET", path="/x") <= MAX_SECONDS


TEXTS = [
    *(
        "password",
        "password=",
        "password: '",
        'token: Invalid value: "a',
        "eyJaaaaaaaa",
        "a://",
        "://a:",
        "://a:b@",
        "a://a:a://",
    ),
    *(
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        "A=",
        "\\",
        '\\"',
        "%41",
        "\\u0041",
        "bearer ",
        "' ",
        "\n…\n",
        "\x1b[",
    ),
    *("hunter0", "hunter0000001 ", "aaaaab", "own-1 hunter0000001 "),
]


@pytest.mark.parametrize("part", TEXTS)
async def test_no_text_holds_up_the_loop_while_it_is_redacted(part: str) -> None:
    """S19: the raw text is redacted, before it is cut to what a person reads."""
    redactor = Redactor(_many_secrets(), own={f"own-{number}" for number in range(2000)})
    assert await in_thread(redactor, repeated(part, RAW)) <= MAX_SECONDS


def _many_secrets() -> list[str]:
    return [f"hunter{number:07x}" for number in range(2000)] + ["a" * 5 + "b" * number for number in range(100)]


SECRETS = {
    "many": lambda: [f"hunter{number:07x}" * 10 for number in range(19_999)],
    "lines": lambda: ["\n".join(f"hunter{number:07x}" for number in range(140_000))],
    "random": lambda: [random.Random(number).randbytes(40).hex() for number in range(19_999)],
    "one": lambda: ["x" * (2 * KIB * KIB - 1)],
}


@pytest.mark.parametrize("secrets", SECRETS.values(), ids=list(SECRETS))
async def test_no_secrets_hold_up_the_loop(secrets: Any) -> None:
    """S20: 100,000 lines below `password`, and a text that was cut, at whose edge any part of them may be."""
    given = secrets()
    assert await in_thread(lambda: Redactor(given)("begin\n…\nend")) <= MAX_SECONDS


RENDERED = {
    "entries": "\n".join(f"password: hunter{number:07x}" for number in range(200_000)),
    "words": "a" * 100 + " " + "a " * 2_000_000 + "\n",
    "blanks": repeated("a: b" + " " * 2000, 1_000_000) + "c\n",
    "json": '{"a":[' + "[]," * 20_000 + "1]}",
}


@pytest.mark.parametrize("text", RENDERED.values(), ids=list(RENDERED))
async def test_no_rendered_secret_holds_up_the_loop(text: str) -> None:
    assert await in_thread(secrets_in_manifest, [{"kind": "Secret", "stringData": {"a": text}}]) <= MAX_SECONDS


def test_a_spec_of_too_many_values_is_refused_before_it_is_read() -> None:
    """S8: 1.4 MB of empty lists, by its field."""
    chart = ManagedChart.from_body(
        {
            "metadata": {"name": "a", "namespace": "b", "uid": "u"},
            "spec": {"chart": {"path": "/x"}, "values": {"a": [[]] * 480_000}},
        }
    )
    with pytest.raises(SpecError, match=r"^spec\.values has more than 100000 values$"):
        parse_spec(chart)
