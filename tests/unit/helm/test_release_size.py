"""The parts of a release that helm prints, their sizes, and the message about them."""

import json
import subprocess
from pathlib import Path

import pytest

from harness.chart_files import write_chart
from managedchart_operator.helm.release_size import Part, format_size, name_biggest, parts_of

CONFIG_MAP = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: "{{ repeat 5000 "x" }}"}\n'
HOOK = (
    'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, annotations: {helm.sh/hook: pre-install}}\ndata: {a: "'
    + "h" * 2000
    + '"}\n'
)


@pytest.fixture
def sizes(tmp_path: Path, helm_binary: str) -> dict[str, int]:
    """The parts of a release of each kind, as the real helm prints it."""
    sub = {
        "Chart.yaml": "apiVersion: v2\nname: sub\nversion: 1.0.0\n",
        "templates/sub.yaml": CONFIG_MAP.replace("5000", "3000").replace("name: a", "name: sub"),
        "README.md": "not stored" * 1000,
    }
    chart = write_chart(
        tmp_path / "web",
        {
            "Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n",
            "values.yaml": f"given: {'d' * 700}\n",
            "values.schema.json": '{"title": "' + "s" * 400 + '"}',
            "templates/big.yaml": CONFIG_MAP,
            "templates/hook.yaml": HOOK,
            "templates/two.yaml": "{{- range tuple 1 2 }}\n---\napiVersion: v1\nkind: ConfigMap\n"
            'metadata: {name: "n{{ . }}"}\ndata: {a: "{{ repeat 1000 "y" }}"}\n{{- end }}\n',
            "files/dashboard.json": "j" * 900,
            "crds/crd.yaml": "# " + "c" * 600,
            **{f"charts/sub/{name}": text for name, text in sub.items()},
        },
    )
    done = subprocess.run(
        [helm_binary, "install", "one", str(chart), "--dry-run=client", "--output=json", "--set=more=" + "v" * 300],
        capture_output=True,
        check=True,
        env={"HOME": str(tmp_path), "KUBECONFIG": "/dev/null"},
    )
    return {part.name: part.size for part in parts_of(json.loads(done.stdout))}


def test_a_template_counts_with_its_output(sizes: dict[str, int]) -> None:
    assert sizes["web/templates/big.yaml"] == pytest.approx(5000 + 2 * len(CONFIG_MAP), abs=60)
    assert sizes["web/templates/two.yaml"] == pytest.approx(2 * 1000 + 300, abs=100)


def test_a_hook_counts_as_a_template(sizes: dict[str, int]) -> None:
    assert sizes["web/templates/hook.yaml"] == pytest.approx(2 * len(HOOK), abs=10)


def test_a_subchart_counts_by_its_rendered_templates(sizes: dict[str, int]) -> None:
    assert sizes["web/charts/sub/templates/sub.yaml"] == pytest.approx(3000 + len(CONFIG_MAP), abs=60)
    assert not any("README" in name for name in sizes)


def test_the_charts_own_files_count(sizes: dict[str, int]) -> None:
    assert sizes["web/files/dashboard.json"] == 900
    assert sizes["web/crds/crd.yaml"] == 602
    assert sizes["web/values.schema.json"] == 413
    # With what helm adds for each subchart.
    assert sizes["web/values.yaml"] == pytest.approx(700, abs=60)


def test_the_values_count(sizes: dict[str, int]) -> None:
    assert sizes["the values"] == len('{"more":""}') + 300


def test_a_source_comment_within_a_text_is_ignored() -> None:
    """Only helm's own comment, behind the line that begins a document, says where one comes from."""
    manifest = "---\n# Source: web/templates/a.yaml\ndata: |\n  ---\n  # Source: web/templates/b.yaml\n  c\n"
    assert parts_of({"manifest": manifest}) == [Part("web/templates/a.yaml", len(manifest))]


def test_the_three_biggest_are_named() -> None:
    chart = {"metadata": {"name": "web"}, "files": [{"name": "files/a.json", "data": "AAAA" * 100_000}]}
    document = {
        "chart": chart,
        "manifest": "".join(f"---\n# Source: web/templates/{n}.yaml\n{'x' * n * 1000}\n" for n in (1, 20, 1500)),
    }
    assert name_biggest(json.dumps(document).encode()) == (
        "the biggest (before compression): web/templates/1500.yaml 1.4 MiB, web/files/a.json 293 KiB,"
        " web/templates/20.yaml 20 KiB"
    )


def test_small_parts_are_not_named() -> None:
    document = {"manifest": "---\n# Source: web/templates/a.yaml\n" + "x" * 100_000, "config": {"a": 1}}
    assert name_biggest(json.dumps(document).encode()).endswith(": web/templates/a.yaml 98 KiB")


@pytest.mark.parametrize("output", [b"", b'{"manifest": "half', b"[]", b"{}"])
def test_an_invalid_release_is_not_an_empty_one(output: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|not a release|neither chart nor manifest"):
        name_biggest(output)


@pytest.mark.parametrize(
    ("size", "words"),
    [(5, "5 B"), (1023, "1023 B"), (1024, "1 KiB"), (1024 * 1024 - 1, "1.0 MiB"), (1_500_000, "1.4 MiB")],
)
def test_a_size_has_a_fitting_unit(size: int, words: str) -> None:
    assert format_size(size) == words


def test_a_release_nested_too_deep_is_refused() -> None:
    with pytest.raises(ValueError, match="nested too deep"):
        name_biggest(b'{"config": ' + b"[" * 5000 + b"]" * 5000 + b"}")
