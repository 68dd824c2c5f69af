"""S9, S19, S20, S29: whatever text helm, the API server or a program writes, it is worded and redacted in bounded time."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.fuzzing import bounded_time, fuzzed, texts
from managedchart_operator.api_refusals import REFUSED, UNAVAILABLE, refusal_of
from managedchart_operator.helm.errors.classify import TABLE, classify
from managedchart_operator.helm.errors.text import MAX_MESSAGE, MAX_TEXT
from managedchart_operator.kube.answers import error_of
from managedchart_operator.redaction import Redactor, printable, redact_part
from managedchart_operator.redaction.control_characters import CONTROL_CHARACTERS
from managedchart_operator.shortening import searchable

OUTPUTS = sorted((Path(__file__).parents[1] / "helm" / "outputs").glob("*.txt"))
COMMANDS = ["upgrade", "uninstall", "rollback", "pull", "template", "show"]
_LITERAL = re.compile(r"(?:[A-Za-z0-9 :\"'/.,]|\\[.\"/()-])+")


def fragments() -> list[str]:
    """Return parts of real errors, and parts of what the patterns look for, whole and without their ends."""
    found = {line for path in OUTPUTS for line in path.read_text().splitlines() if 0 < len(line) < 400}
    for row in (*TABLE, *REFUSED, *UNAVAILABLE):
        for literal in _LITERAL.findall(row.pattern.pattern):
            text = re.sub(r"\\(.)", r"\1", literal)
            found |= {text, text[: len(text) // 2]}
    return sorted(found - {""})


PARTS = [
    *fragments(),
    *(
        "Error: ",
        "UPGRADE FAILED: ",
        "\n",
        " && ",
        "a:1:1",
        "http://",
        "- at '",
        "level=DEBUG msg=",
        "x\n",
        '"',
        "\\",
        "…",
        "\n…\n",
    ),
]
SECRETS = [
    "hunter22-hunter22",
    "correct  horse  battery",
    'quo"ted\\secret',
    "two\nlines-of-it",
    "ümlaut-pässword",
    "a" * 600,
]
FORMS = [
    *SECRETS,
    *(
        "password: ",
        "token=",
        '"secret": "',
        "://user:",
        "@host",
        "Bearer ",
        "eyJ",
        "-----BEGIN PRIVATE KEY-----",
        "AKIA",
        "xoxb-",
    ),
    *(
        "Invalid value: ",
        "map[",
        "\\",
        "\\\\",
        '\\"',
        "%2",
        "\\u00",
        "\x1b[31m",
        "\r",
        "\u202e",
        "…",
        "\n…\n",
        " ",
        "'",
        "''",
        "==",
        "\0",
    ),
]


@fuzzed
@given(text=texts(PARTS, longest=65_536), exit_code=st.integers(-40, 3), command=st.sampled_from(COMMANDS))
def test_any_error_of_helm_is_classified(text: str, exit_code: int, command: str) -> None:
    with bounded_time():
        error = classify(text, exit_code=exit_code or 1, command=command, release="r", namespace="n")
    assert 0 < len(error.message) <= MAX_MESSAGE
    assert len(error.text) <= MAX_TEXT
    assert "\n" not in error.message


@fuzzed
@given(text=texts(PARTS, longest=65_536))
def test_any_refusal_is_worded(text: str) -> None:
    with bounded_time():
        refusal_of(text)
        error_of(403, text.encode(errors="replace"), method="GET", path="/api/v1/namespaces/a/pods/b")


@fuzzed
@given(text=texts(FORMS, longest=65_536), begins=st.booleans(), ends=st.booleans())
def test_any_text_is_redacted(text: str, begins: bool, ends: bool) -> None:
    redactor = Redactor(SECRETS, own=["own-name"])
    with bounded_time():
        masked = redact_part(redactor, text, begins=begins, ends=ends)
    for secret in SECRETS[:1]:
        assert secret not in masked
    assert not {chr(code) for code in CONTROL_CHARACTERS} & set(masked)


@fuzzed
@given(secrets=st.lists(texts(FORMS, longest=3000), max_size=5), text=texts(FORMS, longest=3000))
def test_any_secrets_are_looked_for(secrets: list[str], text: str) -> None:
    with bounded_time():
        Redactor(secrets, own=secrets[:1])(text)


@fuzzed
@given(text=st.text(alphabet=st.characters(codec=None)))
def test_printable_texts_stay(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


@fuzzed
@given(text=texts(PARTS, longest=65_536))
def test_what_is_searched_is_short(text: str) -> None:
    short = searchable(text)
    assert len(short) <= 8 * 1024
    assert max((len(word) for word in short.split()), default=0) <= 512
    if len(text) <= 500:
        assert short == text
