"""What the post-renderer makes of a manifest; it is run as helm runs it."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from managedchart_operator.helm import post_renderer
from managedchart_operator.helm.left_fields import LeftField, LeftFields, Place
from managedchart_operator.helm.manifest import parse_manifest
from managedchart_operator.helm.manifest_fields import FieldEdit

REPLICAS = ("f:spec", "f:replicas")
WEB = Place("apps", "Deployment", "apps", "web")
HPA = Place("autoscaling", "HorizontalPodAutoscaler", "apps", "web")


def rendered(name: str = "web", *, kind: str = "Deployment", replicas: int = 2, **meta: object) -> str:
    group = "autoscaling/v2" if kind.startswith("Horizontal") else "apps/v1"
    item = {"apiVersion": group, "kind": kind, "metadata": {"name": name, **meta}, "spec": {"replicas": replicas}}
    return f"---\n{yaml.safe_dump(item)}"


def replicas_after(field: LeftField, *manifests: str, of: Place = WEB) -> list[int | None]:
    after = LeftFields("apps", ((of, (field,)),)).apply("".join(manifests))
    return [each["spec"].get("replicas") for each in parse_manifest(after)]


def test_only_the_object_is_edited() -> None:
    """By name, namespace and group, in any version; a hook of the same name is another object."""
    hook = {"annotations": {"helm.sh/hook": "pre-upgrade"}}
    manifests = (
        rendered(),
        rendered("other"),
        rendered(namespace="apps"),
        rendered(namespace="else"),
        rendered(**hook),
    )
    assert replicas_after(LeftField(FieldEdit(REPLICAS)), *manifests) == [None, 2, None, 2, 2]
    assert replicas_after(
        LeftField(FieldEdit(REPLICAS)), rendered(namespace="x"), of=Place("apps", "Deployment", "", "web")
    ) == [None]


@pytest.mark.parametrize(
    ("charted", "replicas", "autoscaler", "left"),
    [
        (None, 3, True, True),
        (None, 2, False, False),
        ("2", 3, True, True),
        ("2", 3, False, False),
        ("2", 2, False, True),
    ],
)
def test_an_upgrade_may_remove_the_autoscaler(charted: str | None, replicas: int, autoscaler: bool, left: bool) -> None:
    """Without it the field is left only while the chart's value is what it was."""
    field = LeftField(FieldEdit(REPLICAS, only_if=charted), (HPA,))
    manifests = [rendered(replicas=replicas)] + ([rendered(kind="HorizontalPodAutoscaler")] if autoscaler else [])
    assert replicas_after(field, *manifests)[0] == (None if left else replicas)


def test_the_program_edits_what_it_is_given(tmp_path: Path) -> None:
    fields = LeftFields("apps", ((WEB, (LeftField(FieldEdit(REPLICAS, '"ü"', only_if="2"), (HPA,)),)),))
    assert LeftFields.decode(fields.encode()) == fields
    (tmp_path / "fields").write_bytes(fields.encode())
    manifest = "".join((rendered(), rendered("other")))
    plugin = yaml.safe_load((post_renderer.PLUGINS / post_renderer.NAME / "plugin.yaml").read_text())
    assert plugin["name"] == post_renderer.NAME
    [command] = plugin["runtimeConfig"]["platformCommand"]
    assert command["command"] == f"${{{post_renderer.PYTHON}}}"
    done = subprocess.run(
        [sys.executable, *command["args"], str(tmp_path / "fields")],
        input=manifest.encode(),
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == fields.apply(manifest)
    assert done.stdout.decode() != manifest


def test_the_program_starts_fast() -> None:
    """It imports nothing that takes long: each upgrade with such fields waits for it."""
    slow = "{'asyncio', 'kubernetes', 'pydantic_core'}"
    code = f"import sys, managedchart_operator.helm.post_renderer; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
