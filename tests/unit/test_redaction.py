"""No secret survives in any text that leaves the operator, and nothing else is masked."""

import base64
import json
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from managedchart_operator.helm.errors.classify import classify
from managedchart_operator.redaction import MASK, Redactor, redact_part, secrets_in_manifest, secrets_in_values
from managedchart_operator.redaction.needles import MAX_CHARACTERS, MAX_SECRETS
from managedchart_operator.redaction.redactor import WITHHELD
from managedchart_operator.redaction.words import is_common
from managedchart_operator.shortening import CUT_OUT, cut, cut_middle
from unit.redaction_texts import FORMS, FRAGMENT, SECRETS, TEXTS, WORDS, left_of

OUTPUTS = {path.stem: path for path in sorted((Path(__file__).parent / "helm" / "outputs").glob("*.txt"))}
EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "helm" / "outputs" / "expected.yaml").read_text()
)
SIMPLE = st.text(string.ascii_letters + string.digits + "/+_-!.$", min_size=FRAGMENT, max_size=40).filter(
    lambda text: not is_common(text)
)

# ---- known secrets


@given(st.lists(SIMPLE, min_size=1, max_size=4), TEXTS, TEXTS)
def test_a_known_secret_never_survives(secrets: list[str], before: str, after: str) -> None:
    redact = Redactor(secrets)
    for secret in secrets:
        assert secret not in redact(f"{before}{secret}{after}")
        encoded = base64.b64encode(secret.encode()).decode()
        assert encoded not in redact(f"{before}{encoded}{after}")


@given(SECRETS, st.sampled_from(sorted(FORMS)), WORDS, WORDS)
def test_a_secret_is_masked_in_every_form(secret: str, form: str, before: str, after: str) -> None:
    """As Go, JSON, YAML, URLs and base64 write it, alone or in the middle of something longer."""
    written = FORMS[form](secret)
    shown = Redactor([secret])(f"{before} {written} {after}")
    assert not left_of(secret, shown)
    if form.startswith("base64"):  # what stands before the secret stays
        assert len(shown.removeprefix(f"{before} ").removesuffix(f" {after}").replace(MASK, "")) <= len("dXNlcj\n")
    assert shown.startswith(before)
    assert shown.endswith(after)


@example(secret="000012é", form="url", words="", place=9, begins=True)
@example(secret="000012世", form="url", words="", place=12, begins=True)
@example(secret="000012😀", form="url", words="", place=17, begins=True)
@given(SECRETS, st.sampled_from(["plain", "go", "json in go", "url"]), WORDS, st.integers(0, 60), st.booleans())
def test_no_part_of_a_secret_survives_at_an_edge(secret: str, form: str, words: str, place: int, begins: bool) -> None:
    """The log, the text of helm or of a kubelet may have been cut anywhere."""
    written = FORMS[form](secret)
    redact = Redactor([secret])
    if begins:
        part = f"{words} {written}"[: len(words) + 1 + min(place, len(written))]
        shown = redact_part(redact, part, begins=True, ends=False)
    else:
        part = f"{written} {words}"[min(place, len(written)) :]
        shown = redact_part(redact, part, begins=False, ends=True)
    assert not left_of(secret, shown)


@given(st.lists(SECRETS, max_size=3), TEXTS)
def test_redacting_twice_changes_nothing(secrets: list[str], text: str) -> None:
    redact = Redactor(secrets)
    once = redact(text + "".join(secrets) + text)
    assert redact(once) == once


def test_a_text_whose_middle_was_cut_out_is_masked_on_both_sides() -> None:
    redact = Redactor(["correct horse battery staple"])
    assert redact(f"login correct ho{CUT_OUT}tery staple failed") == f"login {MASK}{CUT_OUT}{MASK} failed"
    assert redact(cut("login correct horse battery staple", 20)) == f"login {MASK}…"


def test_an_edge_hides_no_other_word() -> None:
    redact = Redactor(["postgres-Xy12345"])
    assert redact("Cannot connect to postgres") == "Cannot connect to postgres"
    assert redact_part(redact, "345 rows", begins=False, ends=True) == "345 rows"


def test_each_line_of_a_file_is_masked() -> None:
    key = "\n".join(f"line-{number}-{'Ab9' * 15}" for number in range(9))
    redact = Redactor([key])
    assert redact(f"cannot parse {key.splitlines()[4]} of it") == f"cannot parse {MASK} of it"
    assert redact("\n".join(f"    {line}" for line in key.splitlines())) == f"    {MASK}"


def test_what_a_file_in_a_secret_says_of_nothing_stays() -> None:
    """A configuration has passwords, and lines that every other configuration has."""
    config = "global:\n  enabled: true\nauth:\n  smtp_password: Xy12345\nlevel: info\n"
    redact = Redactor(secrets_in_manifest([{"kind": "Secret", "stringData": {"config.yaml": config}}]))
    assert redact("global: enabled: true, level: info") == "global: enabled: true, level: info"
    assert redact("535 Xy12345 refused") == "535 *** refused"


def test_passwords_in_json_are_secrets() -> None:
    login = json.dumps({"auths": {"registry.example": {"username": "bob", "password": "Xy12345", "auth": "Ym9iOlh5"}}})
    redact = Redactor(secrets_in_manifest([{"kind": "Secret", "stringData": {".dockerconfigjson": login}}]))
    assert redact("registry.example refuses bob, Xy12345, Ym9iOlh5") == "registry.example refuses bob, ***, ***"


@pytest.mark.parametrize("size", [300, 5000, 1_000_000])
def test_a_part_of_a_large_secret_is_masked(size: int) -> None:
    """No text has all of it."""
    large = "".join(f"{number:x}." for number in range(size))[:size]
    redact = Redactor([large])
    part = large[size // 2 :][:2000]
    assert left_of(part, redact_part(redact, part, begins=False, ends=False)) == []
    encoded = base64.b64encode(large.encode()).decode()
    middle = redact_part(redact, encoded[size // 2 :][:2000], begins=False, ends=False)
    assert len(middle.replace(MASK, "")) < FRAGMENT


# ---- values and manifests


@given(st.dictionaries(st.sampled_from(["password", "apiKey", "db_token", "clientSecret"]), SIMPLE, min_size=1), TEXTS)
def test_values_of_secret_keys_are_secrets_at_any_level(values: dict[str, str], text: str) -> None:
    redact = Redactor(secrets_in_values({"a": [{"b": values}], "image": "nginx"}))
    for secret in values.values():
        assert secret not in redact(text + secret)


def test_secrets_of_all_sources_are_found() -> None:
    redact = Redactor(secrets_in_values({"password": "from-a-file"}, {"auth": {"token": "from-the-spec"}}))
    assert redact("from-a-file, from-the-spec") == "***, ***"


def test_a_number_may_be_a_password() -> None:
    redact = Redactor(secrets_in_values({"password": 12345678, "tokenPort": 8080, "secretMounted": True}))
    assert redact("12345678 on 8080 is True") == "*** on 8080 is True"


@pytest.mark.parametrize(
    "values",
    [
        {"envFrom": [{"secretRef": {"name": "db-login"}}]},
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "db-login", "key": "db-user"}}}]},
        {"tls": {"secretName": "db-login"}, "auth": {"existingSecret": "db-login"}},
        {"imagePullSecrets": [{"name": "db-login"}]},
    ],
)
def test_the_name_of_a_secret_is_not_a_secret(values: dict[str, object]) -> None:
    """A message that a Secret is missing must say which."""
    text = 'secret "db-login" not found: key db-user'
    assert Redactor(secrets_in_values(values))(text) == text


@given(st.dictionaries(st.text(string.ascii_lowercase, min_size=1), SIMPLE, min_size=1))
def test_values_of_rendered_secrets_are_secrets(data: dict[str, str]) -> None:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    redact = Redactor(
        secrets_in_manifest([{"kind": "Secret", "data": encoded}, {"kind": "ConfigMap", "data": {"a": "b"}}])
    )
    for secret in data.values():
        assert secret not in redact(f"it said {secret} there")


@pytest.mark.parametrize("part", [["hunter2"], "hunter2", 7, None])
def test_an_invalid_secret_is_not_an_error(part: Any) -> None:
    """A chart may render anything, and only the API server refuses it; its failure must still be reported."""
    assert secrets_in_manifest([{"kind": "Secret", "data": part, "stringData": part}]) == set()


@pytest.mark.parametrize("text", ["not base64", "pässword", "gIGB"], ids=["no base64", "no ASCII", "no UTF-8"])
def test_data_that_cannot_be_decoded_is_a_secret_itself(text: str) -> None:
    assert secrets_in_manifest([{"kind": "Secret", "data": {"a": text}}]) == {text}


# ---- what is never masked


@pytest.mark.parametrize(
    "word",
    ["admin", "true", "password", "Default", "secret", "8080", "27017", "localhost", "10.0.0.1", "512Mi", "mysql"],
)
def test_short_and_common_words_are_never_masked(word: str) -> None:
    """A user called admin must not make the hint of a release `admin-tools` useless."""
    redact = Redactor(secrets_in_manifest([{"kind": "Secret", "stringData": {"admin-user": word}}]))
    text = f"Pod {word}-tools-0 keeps ending: kubectl logs {word}-tools-0 says {word}"
    assert redact(text) == text


def test_the_releases_own_names_are_never_masked() -> None:
    """Neither as a whole, nor where a secret is a part of them."""
    redact = Redactor(["wordpress", "shop-database"], own=["wordpress-prod", "wordpress", "shop-database-0"])
    assert redact("Pod wordpress-prod-7d9f of wordpress") == "Pod wordpress-prod-7d9f of wordpress"
    assert redact("Pod shop-database-0 at shop-database") == f"Pod shop-database-0 at {MASK}"


@pytest.mark.parametrize(
    "text",
    [
        'Kind=Secret: Secret "b" is invalid: data: too long',
        "for object a/b external-secrets.io/v1, Kind=ExternalSecret: admission webhook denied it",
        "0/1 nodes are available: 1 Insufficient cpu.",
        'Failed to pull image "registry.example/one:1": not found',
        "Readiness probe failed: HTTP probe failed with statuscode: 503",
        'secrets "tls" is forbidden: User "a" cannot get resource "secrets"',
        "auth.password: got number, want string",
        "- at '/auth/password': got number, want string",
        "- at '/auth': missing property 'password'",
        "superuserSecret: Required value",
        "spec.token: Forbidden: may not be set",
        "spec.credential: Too long: may not be more than 64 bytes",
        "failed to fetch oauth token: unexpected status from GET request to https://a.example/token: 401 Unauthorized",
        "no basic auth credentials; basic authentication failed",
        "automountServiceAccountToken: false",
        "oci://registry.example:5000/chart@sha256:0123 and http://a.example:8080/b@c",
        'couldn\'t find key password in Secret apps/db; secret "db" not found',
        "toomanyrequests: toomanyrequests",
        'BackupStorageLocation velero/default: spec.credential: spec.credential in body must be of type object: "string"',
    ],
)
def test_helpful_text_is_not_masked(text: str) -> None:
    assert Redactor()(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            'spec.credential: Invalid value: "hunter2": spec.credential in body must be of type object: "string"',
            'spec.credential: Invalid value: ***: spec.credential in body must be of type object: "string"',
        ),
        ('spec.credential: Invalid value: {"a":"b: c"}: must be x', "spec.credential: Invalid value: ***: must be x"),
        ("data.token: Invalid value: 12345: must be", "data.token: Invalid value: ***: must be"),
        (
            'stringData[password]: Unsupported value: "x": supported',
            "stringData[password]: Unsupported value: ***: supported",
        ),
        ("- at '/auth/password': 'hunter2' does not match", "- at '/auth/password': *** does not match"),
    ],
)
def test_only_the_value_that_the_api_server_repeats_is_masked(text: str, shown: str) -> None:
    assert Redactor()(text) == shown


@pytest.mark.parametrize("name", sorted(name for name in OUTPUTS if not name.startswith("schema-reference")))
def test_what_helm_reports_is_not_masked(name: str) -> None:
    """Only the URLs of schemas have a token in the recorded outputs."""
    text = OUTPUTS[name].read_text()
    assert Redactor()(text) == text


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_redacted_output_has_the_same_meaning(name: str) -> None:
    """Also beside secrets that have nothing to do with it."""
    text, expected = OUTPUTS[name].read_text(), EXPECTED[name]
    redact = Redactor(["Xy12345678", "correct horse battery staple", "admin", "Deployment"], own=["web", "default"])
    error = classify(redact(text), exit_code=1, command=expected.get("command", "upgrade"))
    plain = classify(text, exit_code=1, command=expected.get("command", "upgrade"))
    assert vars(error) == vars(plain)


# ---- what looks like a credential


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Get https://bob:hunter2@registry.example/v2/", "hunter2"),
        ("Get https://bob:hun/ter2@registry.example/v2/", "ter2"),
        ("postgres://bob:hun@ter2@db/shop", "ter2"),
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
        ('env {"DB_PASSWORD": "hunter2"}', "hunter2"),
        ('env {"DB_PASSWORD": "hun\\"ter2"}', "ter2"),
        (r'error="{\"password\": \"hun\\\"ter2\"}"', "ter2"),
        ("password=hunter2, retrying", "hunter2"),
        ("PASSWORD: 'hunter 2' is wrong", "hunter"),
        ("password=got-hunter2", "hunter2"),
        ("key AKIAABCDEFGHIJKLMNOP refused", "AKIAABCDEFGHIJKLMNOP"),
        ("token ghp_abcdefghijklmnopqrstuvwx", "ghp_abcdefghijklmnopqrstuvwx"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "eyJzdWIiOiIxIn0"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----", "MIIabc"),
        ("MIIabc\nMIIdef\n-----END RSA PRIVATE KEY-----", "MIIabc"),
        ("-----BEGIN PRIVATE KEY-----\nMIIabc", "MIIabc"),
        (
            "toomanyrequests: You have reached your pull rate limit as 'bob': dckr_jti_abc. Increase it",
            "dckr_jti_abc",
        ),
    ],
)
def test_credentials_are_masked(text: str, secret: str) -> None:
    shown = Redactor()(text)
    assert secret not in shown
    assert MASK in shown
    assert Redactor()(shown) == shown


# ---- bounds


def test_more_secrets_than_can_be_looked_for_withhold_the_text() -> None:
    """A chart may not make the operator look for hours, nor show a secret by having too many."""
    many = Redactor(f"secret-{number}" for number in range(MAX_SECRETS + 1))
    large = Redactor(["x" * (MAX_CHARACTERS + 1)])
    assert many("any text") == large("any text") == many(WITHHELD) == WITHHELD


def test_a_text_that_was_made_to_be_slow_is_withheld() -> None:
    nested = Redactor("A" * length + "!" for length in range(6, 250))
    assert nested(("A" * 255 + "B") * 1000) == WITHHELD


@pytest.mark.parametrize(
    "word", ["a", "a.", "a-", "eyJ-", "password", "password:", "://a:", "bearer ", 'password="', "\\", "%"]
)
def test_no_pattern_costs_the_square_of_a_text(word: str) -> None:
    """A quadratic one would take minutes for this."""
    Redactor(["hunter2hunter2"])(word * (200_000 // len(word)))


def test_many_secrets_are_looked_for_at_once() -> None:
    """One by one, a thousand would take minutes for this. In all, these 190 kB take some 0.1 s, in a thread."""
    secrets = [f'{number * 7919:08x}-secret"{number}' for number in range(1000)]
    line = 'server-side apply failed for object default/web apps/v1, Kind=Deployment: "{}" is invalid\n'
    text = "".join(line.format(secrets[number].replace('"', '\\"')) for number in range(1000)) * 2
    shown = Redactor(secrets)(text)
    assert shown == line.format(MASK) * 2000


def test_cut_texts_are_marked_alike() -> None:
    """The redactor knows the mark of `shortening` without importing it."""
    assert CUT_OUT in cut_middle("x" * 100, 50)
    redact = Redactor(["Xy12345678"])
    assert redact(f"is Xy123{CUT_OUT}345678 it") == f"is {MASK}{CUT_OUT}{MASK} it"


@pytest.mark.parametrize(
    "message",
    [
        each["message"]
        for each in yaml.safe_load(OUTPUTS["another-operation"].with_name("expected.yaml").read_text()).values()
    ],
)
def test_the_message_about_it_is_not_masked_either(message: str) -> None:
    """A message is redacted once more before it is recorded, and it words the answer in another way."""
    assert Redactor()(message) == message
