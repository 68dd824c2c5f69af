"""Objects of a stored manifest that are taken out, kept, or found elsewhere; and all the text that must not change."""

import base64
import gzip
import json
from typing import Any

import pytest
import yaml

from managedchart_operator.errors import HelmError
from managedchart_operator.helm import stored_manifest
from managedchart_operator.helm.manifest import parse_manifest
from managedchart_operator.helm.manifest_edits import (
    Drop,
    Edit,
    Editor,
    Keep,
    Move,
    Rendered,
    rendered_in,
    rewrite,
)
from managedchart_operator.helm.stored_manifest import with_hooks, with_manifest
from managedchart_operator.helm.stored_release import decode
from managedchart_operator.reasons import Reason

# Odd on purpose: comments, a separator within a text, numbers that YAML 1.1 reads in another way, blank lines, no end of line.
CONFIG = """---
# Source: web/templates/config.yaml
apiVersion: v1
kind: ConfigMap   # not a Widget
metadata: {name: web}
data:
  script: |
    ---
    apiVersion: x.example.com/v1
    kind: Widget
    metadata: {name: web}
  time: 22:22
  "folded": >-
    a

    b


"""
WIDGET = """---
# Source: web/templates/widget.yaml
apiVersion: x.example.com/v1
kind: Widget
metadata:
  # who it is
  name: web
spec:
  time: 22:22
  day: 2026-02-30
  more: {octal: 010, text: "yes", float: 1.0, truth: on}
"""
SECRET = """---
# Source: web/templates/secret.yaml
apiVersion: v1
kind: Secret
metadata:
  name: web
stringData: {a: b}"""


def of(change: Edit, *, kind: str = "Widget", name: str = "") -> Editor:
    """Change the objects of a kind, or one of them."""
    return lambda rendered: change if rendered.kind == kind and name in ("", rendered.name) else None


def test_dropping_a_document_leaves_the_others_unchanged() -> None:
    assert rewrite(CONFIG + WIDGET + SECRET, of(Drop())) == CONFIG + SECRET
    assert rewrite(WIDGET + CONFIG + SECRET, of(Drop())) == CONFIG + SECRET
    assert rewrite(CONFIG + WIDGET, of(Drop())) == CONFIG


def test_a_separator_within_a_text_is_ignored() -> None:
    assert rewrite(CONFIG, of(Drop())) == CONFIG
    assert rendered_in(CONFIG) == [Rendered("v1", "ConfigMap", "web")]


@pytest.mark.parametrize("change", [Keep(), Move("x.example.com/v2")])
def test_a_changed_document_leaves_the_others_unchanged(change: Edit) -> None:
    changed = rewrite(CONFIG + WIDGET + SECRET, of(change))
    assert changed.startswith(CONFIG + "---\n# Source: web/templates/widget.yaml\n")
    assert changed.endswith(SECRET)


def test_the_scalars_of_a_changed_document_keep_their_text() -> None:
    """PyYAML reads 22:22 as a number and stumbles over the thirtieth of February; helm does neither."""
    changed = rewrite(WIDGET, of(Keep()))
    assert changed.endswith(WIDGET[WIDGET.index("spec:") :])


def test_a_null_stays_a_null() -> None:
    text = "kind: Widget\napiVersion: x/v1\nmetadata: {name: a}\nspec: {a: , b: ~, c: [null], d: '', e: &e {f: }, g: *e}\nh:\n"
    [before], [after] = parse_manifest(text), parse_manifest(rewrite(text, of(Move("x/v2"))))
    assert after == {**before, "apiVersion": "x/v2"}


def test_a_moved_object_changes_only_its_version() -> None:
    [before], [after] = (
        parse_manifest(WIDGET.replace("2026-02-30", "x")),
        parse_manifest(rewrite(WIDGET, of(Move("x.example.com/v2"))).replace("2026-02-30", "x")),
    )
    assert after == {**before, "apiVersion": "x.example.com/v2"}


@pytest.mark.parametrize(
    "metadata",
    [
        "{name: web}",
        '{"name": "web", "annotations": {}}',
        "\n  name: web",
        "\n  name: web\n  annotations:",
        "\n  annotations: null\n  name: web",
        "\n  annotations:\n    a: b\n  name: web",
        "\n  annotations: {a: b}\n  name: web",
        "\n  annotations: {helm.sh/resource-policy: delete}\n  name: web",
        "\n  name: web\n  labels: &all {a: b}\n  annotations: *all",
    ],
)
def test_an_object_is_kept_however_it_is_written(metadata: str) -> None:
    text = f"---\nkind: Widget\napiVersion: x/v1\nmetadata: {metadata}\n"
    kept = rewrite(text + CONFIG, of(Keep()))
    [before, _], [after, _] = parse_manifest(text + CONFIG), parse_manifest(kept)
    annotations = (before["metadata"].get("annotations") or {}) | {"helm.sh/resource-policy": "keep"}
    assert after == {**before, "metadata": {**before["metadata"], "annotations": annotations}}
    assert rewrite(kept, of(Keep())) == kept


def test_an_already_kept_object_stays_unchanged() -> None:
    text = WIDGET.replace("  name: web\n", '  name: web\n  annotations: {helm.sh/resource-policy: " Keep "}\n')
    assert rewrite(text, of(Keep())) == text


LIST = """---
# Source: web/templates/list.yaml
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: a}
- {apiVersion: x.example.com/v1, kind: Widget, metadata: {name: b, namespace: there}}
"""
TYPED = """---
apiVersion: x.example.com/v1
kind: WidgetList
items:
- metadata: {name: a}
- metadata: {name: b}
  kind: Widget
  apiVersion: x.example.com/v1
"""


def test_objects_of_lists_are_found() -> None:
    assert rendered_in(LIST) == [
        Rendered("v1", "ConfigMap", "a"),
        Rendered("x.example.com/v1", "Widget", "b", "there"),
    ]
    assert rendered_in(TYPED) == [Rendered("x.example.com/v1", "Widget", name) for name in "ab"]


def test_a_list_loses_one_object() -> None:
    assert rendered_in(rewrite(LIST, of(Drop()))) == [Rendered("v1", "ConfigMap", "a")]
    assert rendered_in(rewrite(TYPED, of(Drop(), name="a"))) == [Rendered("x.example.com/v1", "Widget", "b")]
    assert rewrite(CONFIG + TYPED + SECRET, of(Drop())) == CONFIG + SECRET


def test_a_kept_list_item_gets_its_own_document() -> None:
    """helm looks for the policy on a document; on the items of a list it has no effect (4.3.1)."""
    kept = rewrite(CONFIG + LIST + SECRET, of(Keep()))
    assert kept.startswith(CONFIG)
    assert kept.endswith(SECRET)
    documents = [document for document in yaml.safe_load_all(kept) if document["metadata"]["name"] in "ab"]
    policies = [(d["kind"], (d["metadata"].get("annotations") or {}).get("helm.sh/resource-policy")) for d in documents]
    assert policies == [("ConfigMap", None), ("Widget", "keep")]
    assert rewrite(kept, of(Keep())) == kept


def test_a_list_item_with_the_policy_gets_a_document() -> None:
    text = LIST.replace("namespace: there", "namespace: there, annotations: {helm.sh/resource-policy: keep}")
    assert "kind: List" not in rewrite(text, of(Keep()))


def test_items_of_a_typed_list_keep_their_kind() -> None:
    moved = rewrite(TYPED, of(Move("x.example.com/v2"), name="a"))
    assert rendered_in(moved) == [
        Rendered("x.example.com/v2", "Widget", "a"),
        Rendered("x.example.com/v1", "Widget", "b"),
    ]
    assert [document["kind"] for document in yaml.safe_load_all(moved)] == ["Widget", "Widget"]


def test_json_stays_json() -> None:
    text = (
        '{"apiVersion": "x/v1", "kind": "Widget", "metadata": {"name": "é"}, "spec": {"n": 1.0, "l": [true, null]}}\n'
    )
    assert rewrite(f"---\n{text}{CONFIG}", of(Drop())) == CONFIG
    changed = rewrite(text, lambda _: Keep())
    assert json.loads(changed)["metadata"] == {"name": "é", "annotations": {"helm.sh/resource-policy": "keep"}}
    assert json.loads(rewrite(text, lambda _: Move("x/v2"))) == {**json.loads(text), "apiVersion": "x/v2"}


def test_lines_may_end_as_on_windows() -> None:
    config, widget = CONFIG.replace("\n", "\r\n"), WIDGET.replace("\n", "\r\n")
    assert rewrite(config + widget + config, of(Drop())) == config + config
    kept = rewrite(config + widget + config, of(Keep()))
    assert kept.startswith(config)
    assert kept.endswith(config)
    assert len(rendered_in(kept)) == 3


def test_a_comment_may_follow_a_separator() -> None:
    text = WIDGET.replace("---\n", "--- # {\n")
    assert rewrite(CONFIG + text + SECRET, of(Drop())) == CONFIG + SECRET
    assert rewrite(text, of(Keep())).startswith("--- # {\n# Source: web/templates/widget.yaml\napiVersion:")


ENDLESS = "---\n&a {kind: List, items: [*a]}\n"


@pytest.mark.parametrize(
    "other", ["---\nkind: [\n", "---\na: b: c\n", "---\n# nothing\n", "---\n- a list\n", "\n\n", ENDLESS]
)
def test_unreadable_documents_stay_unchanged(other: str) -> None:
    """And keeps nothing else from being changed."""
    assert rewrite(other + WIDGET + other, of(Drop())) == other + other.lstrip("\n") * (other != "\n\n")


def test_without_a_change_the_text_is_the_same() -> None:
    text = CONFIG + LIST + TYPED + SECRET
    assert rewrite(text, lambda _: None) == text
    assert rewrite("", of(Drop())) == ""


def test_documents_nested_too_deep_stay_unchanged() -> None:
    text = WIDGET + f"deep: {'[' * 2000}{']' * 2000}\n"
    assert rewrite(text + CONFIG, of(Keep())) == text + CONFIG
    assert rewrite(text + CONFIG, of(Drop())) == CONFIG


# ---- the Secret


def secret(**document: Any) -> dict[str, Any]:
    """A release Secret."""
    packed = base64.b64encode(gzip.compress(json.dumps(document).encode()))
    return {"metadata": {"name": "sh.helm.release.v1.web.v1"}, "data": {"release": base64.b64encode(packed).decode()}}


def document_of(data: str | None) -> dict[str, Any]:
    """What helm would read of it."""
    assert data is not None
    return decode({"data": {"release": data}}).document


def test_everything_else_of_the_release_stays() -> None:
    """Also what is not known here, and text in any language."""
    rest = {"name": "web", "version": 3, "info": {"status": "deployed", "notes": "größer \ud83d"}, "future": [1, None]}
    changed = with_manifest(secret(manifest=CONFIG + WIDGET, **rest), of(Drop()), hooks=True)
    assert document_of(changed) == {"manifest": CONFIG, **rest}


def test_hooks_are_changed_where_they_count() -> None:
    hooks = [
        {"name": "a", "manifest": WIDGET.removeprefix("---\n"), "events": ["pre-delete"]},
        {"name": "b", "manifest": SECRET},
    ]
    stored = secret(manifest=CONFIG, hooks=hooks)
    assert document_of(with_manifest(stored, of(Drop()), hooks=True))["hooks"] == hooks[1:]
    moved = document_of(with_manifest(stored, of(Move("x/v2")), hooks=True))["hooks"]
    assert rendered_in(moved[0]["manifest"]) == [Rendered("x/v2", "Widget", "web")]
    assert {**moved[0], "manifest": hooks[0]["manifest"]} == hooks[0]
    assert with_manifest(stored, of(Drop()), hooks=False) is None


def test_hooks_that_are_missing_are_put_back() -> None:
    """In their order, with what helm has noted in the others. Two of one name are in two namespaces."""
    hooks = [
        {"path": "a.yaml", "kind": "Pod", "name": name, "manifest": text}
        for name, text in zip("abb", "123", strict=True)
    ]
    ran = {**hooks[1], "last_run": {"phase": "Succeeded"}}
    left = secret(manifest=CONFIG, hooks=[ran])
    assert document_of(with_hooks(left, hooks)) == {"manifest": CONFIG, "hooks": [hooks[0], ran, hooks[2]]}
    assert with_hooks(secret(manifest=CONFIG, hooks=[ran]), hooks[1:2]) is None
    assert document_of(with_hooks(secret(manifest=CONFIG, hooks=None), hooks))["hooks"] == hooks
    assert with_hooks(secret(manifest=CONFIG), []) is None


@pytest.mark.parametrize("hooks", [None, []])
def test_without_a_change_nothing_is_written(hooks: list[Any] | None) -> None:
    assert with_manifest(secret(manifest=CONFIG, hooks=hooks), of(Drop()), hooks=True) is None
    assert with_manifest(secret(), of(Drop()), hooks=True) is None


def test_a_too_large_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_manifest, "_SECRET_BYTES", 100)
    with pytest.raises(HelmError) as refused:
        with_manifest(secret(manifest=CONFIG + WIDGET), of(Keep()), hooks=False)
    assert refused.value.reason is Reason.RELEASE_TOO_LARGE
    assert "sh.helm.release.v1.web.v1" in refused.value.message
