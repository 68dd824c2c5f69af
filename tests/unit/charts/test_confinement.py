"""A ManagedChart reads no file of the pod except those below the chart roots."""

import os
from pathlib import Path

import pytest

from managedchart_operator.charts.confinement import ChartRoots, OutsideError
from managedchart_operator.errors import ChartError, ValuesError
from managedchart_operator.reasons import Reason


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "charts"
    folder.mkdir()
    (tmp_path / "secret").write_text("token: hunter2\n")
    return folder


@pytest.fixture
def roots(root: Path) -> ChartRoots:
    return ChartRoots([root])


def refused(roots: ChartRoots, path: str) -> str:
    with pytest.raises(ChartError) as caught:
        roots.resolve(path, field="spec.chart.path")
    assert (caught.value.reason, caught.value.transient) == (Reason.PATH_NOT_ALLOWED, False)
    with pytest.raises(ValuesError) as file:
        roots.read_values_file(path, chart="web", field="spec.valuesFiles[0]")
    assert file.value.reason is Reason.PATH_NOT_ALLOWED
    assert file.value.message.startswith("spec.valuesFiles[0]: ")
    return caught.value.message


def unavailable(roots: ChartRoots, path: Path | str) -> str:
    with pytest.raises(ValuesError) as caught:
        roots.read_values_file(str(path), chart="web", field="spec.valuesFiles[0]")
    assert (caught.value.reason, caught.value.transient) == (Reason.VALUES_FILE_UNAVAILABLE, True)
    return caught.value.message


def test_a_path_below_a_root_is_resolved(roots: ChartRoots, root: Path) -> None:
    assert roots.resolve(f"{root}/a/../b", field="f") == root / "b"


@pytest.mark.parametrize("path", ["/etc/passwd", "{root}/../secret", "{root}2/x", "{root}/link", "/", "{root}/a\0b"])
def test_a_path_outside_the_roots_is_refused(roots: ChartRoots, root: Path, path: str) -> None:
    (root / "link").symlink_to(root.parent / "secret")
    path = path.format(root=root)
    assert refused(roots, path) == (
        f"spec.chart.path: {path!r} is not below one of the operator's chart roots ({root})"
    )


@pytest.mark.parametrize("path", ["web", "./web", "../charts/web", ""])
def test_a_relative_path_is_refused(roots: ChartRoots, root: Path, path: str) -> None:
    assert "is not an absolute path" in refused(roots, path)


def test_the_target_of_a_link_is_not_revealed(roots: ChartRoots, root: Path) -> None:
    (root / "a").symlink_to("/var/run/secrets/no-such-thing")
    (root / "b").symlink_to(root.parent / "secret")
    first, second = refused(roots, f"{root}/a"), refused(roots, f"{root}/b")
    assert first.replace("/a'", "/b'") == second
    assert "secret" not in second.replace(str(root.parent), "")


def test_a_root_that_is_a_link_works_and_may_move(tmp_path: Path) -> None:
    """git-sync publishes a new checkout by moving a link."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "values.yaml").write_text(f"a: {name}\n")
    link = tmp_path / "current"
    roots = ChartRoots([link])
    for name in ("one", "two"):
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / name)
        assert roots.read_values_file(f"{link}/values.yaml", chart="c", field="f") == f"a: {name}\n".encode()
        assert roots.resolve(f"{link}/values.yaml", field="f") == tmp_path / name / "values.yaml"


def test_a_link_inside_the_roots_is_followed(roots: ChartRoots, root: Path) -> None:
    """ConfigMap volumes have such links."""
    (root / "..data").mkdir()
    (root / "..data" / "v.yaml").write_text("a: 1\n")
    (root / "v.yaml").symlink_to("..data/v.yaml")
    assert roots.read_values_file(f"{root}/v.yaml", chart="c", field="f") == b"a: 1\n"


def test_a_missing_values_file_is_named_with_its_chart(roots: ChartRoots, root: Path) -> None:
    assert unavailable(roots, root / "no.yaml") == (
        f"""Can't access helm chart override file "{root}/no.yaml" for chart "web": No such file or directory"""
    )


def test_a_special_file_is_refused_without_waiting(roots: ChartRoots, root: Path) -> None:
    """Reading a named pipe without a writer would block."""
    os.mkfifo(root / "pipe")
    (root / "folder").mkdir()
    (root / "loop").symlink_to("loop")
    assert unavailable(roots, root / "pipe").endswith(": it is not a regular file")
    assert unavailable(roots, root / "folder").endswith(": it is not a regular file")
    assert unavailable(roots, root / "loop").endswith("symbolic links")


def test_a_values_file_is_at_most_one_mebibyte(roots: ChartRoots, root: Path) -> None:
    file = root / "v.yaml"
    file.write_bytes(b"x" * 1024 * 1024)
    assert len(roots.read_values_file(str(file), chart="c", field="f")) == 1024 * 1024
    file.write_bytes(b"x" * (1024 * 1024 + 1))
    assert unavailable(roots, file).endswith(": it is larger than 1 MiB")


def test_a_link_swapped_in_after_the_check_is_refused(
    roots: ChartRoots, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race: the folder is replaced by a link between the check and the opening."""
    (root / "d").mkdir()
    (root / "d" / "secret").write_text("harmless")
    real = roots.real

    def swap_after_the_check(path: str | Path) -> Path:
        checked = real(path)
        (root / "d").rename(root / "old")
        (root / "d").symlink_to(root.parent)
        return checked

    monkeypatch.setattr(roots, "real", swap_after_the_check)
    with pytest.raises(OutsideError), roots.open(root / "d" / "secret"):
        pytest.fail("a file outside was handed out")


def test_no_descriptor_is_left_open(roots: ChartRoots, root: Path) -> None:
    os.mkfifo(root / "pipe")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        unavailable(roots, root / "pipe")
        unavailable(roots, root)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# ---- roots for each namespace


@pytest.fixture
def per_namespace(root: Path) -> ChartRoots:
    for name in ("shared", "team-a", "team-b"):
        (root / name).mkdir()
        (root / name / "values.yaml").write_text(f"of: {name}")
    return ChartRoots([root / "shared", root / "{namespace}"])


def read(roots: ChartRoots, path: Path) -> bytes:
    return roots.read_values_file(str(path), chart="web", field="spec.valuesFiles[0]")


def test_a_namespace_reads_the_shared_folder_and_its_own(per_namespace: ChartRoots, root: Path) -> None:
    """S23: another team's values files may have its passwords."""
    team = per_namespace.of("team-a")
    assert read(team, root / "shared/values.yaml") == b"of: shared"
    assert read(team, root / "team-a/values.yaml") == b"of: team-a"
    for path in (root / "team-b/values.yaml", root / "team-a/../team-b/values.yaml", root / "{namespace}/values.yaml"):
        assert f"is not below one of the operator's chart roots ({root}/shared, {root}/team-a)" in refused(
            team, str(path)
        )


def test_a_link_into_the_folder_of_another_namespace_is_refused(per_namespace: ChartRoots, root: Path) -> None:
    (root / "team-a/link").symlink_to(root / "team-b")
    refused(per_namespace.of("team-a"), f"{root}/team-a/link/values.yaml")


def test_a_folder_for_a_namespace_needs_a_namespace(per_namespace: ChartRoots, root: Path) -> None:
    assert read(per_namespace, root / "shared/values.yaml") == b"of: shared"
    refused(per_namespace, f"{root}/team-a/values.yaml")


def test_without_a_placeholder_all_read_the_same(roots: ChartRoots, root: Path) -> None:
    (root / "values.yaml").write_text("a: 1")
    assert read(roots.of("team-a"), root / "values.yaml") == read(roots.of("team-b"), root / "values.yaml")
