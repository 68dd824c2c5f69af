"""Finds the crds/ folders of a chart: whether it has any, what is in its own, and the part of a chart that decides about them.

helm takes what stands in crds/ as it is, without rendering it, from the chart and from its enabled subcharts. Which subcharts
are enabled follows from values, conditions and tags, so for a chart whose subcharts have such folders helm is asked
(`by_helm.enabled_crds`), about a copy that has no templates: rendering would cost more, and might fail without a cluster. The
chart's own folder is read here, without a helm process. These are blocking functions for a worker process, since the chart is
untrusted.

Source: helm 4.3.1, pkg/chart/v2/chart.go (CRDObjects).
"""

import fnmatch
import tarfile
from collections.abc import Iterable
from enum import IntEnum
from io import BytesIO
from pathlib import Path, PurePosixPath

from managedchart_operator.charts.archive import MAX_NESTED, SUBCHART, ArchiveError, Budget, files_in
from managedchart_operator.charts.cache import write
from managedchart_operator.charts.metadata import invalid
from managedchart_operator.charts.schema_addresses import with_stand_ins
from managedchart_operator.charts.schema_references import SCHEMA
from managedchart_operator.errors import UNREADABLE

# The largest, that of the Prometheus operator, has 4.5 MB.
MAX_CRD_BYTES = 16 * 1024 * 1024
_EXTENSIONS = (".yaml", ".yml", ".json")
# What decides which subcharts are enabled. .helmignore counts for folders, requirements.yaml for charts of apiVersion v1.
_DECIDING = frozenset({"Chart.yaml", "values.yaml", "requirements.yaml", ".helmignore"})
_UNREADABLE = (*UNREADABLE, ArchiveError, OSError)


class CrdFolders(IntEnum):
    """Which parts of a chart have files in crds/ folders."""

    NONE = 0
    OWN = 1
    """The chart itself, and none of its subcharts."""
    SUBCHARTS = 2
    """A subchart; the chart itself may have some too. In doubt it is this one, which helm decides."""


def folders_in(name: str) -> CrdFolders:
    """Return what the path of a file in a chart tells; packaged subcharts are searched by `search`."""
    first, *rest = PurePosixPath(name).parts or ("",)
    if first == "crds" and rest and _is_manifest(name):
        return CrdFolders.OWN
    in_subchart = first == "charts" and "crds" in rest[1:-1] and _is_manifest(name)
    return CrdFolders.SUBCHARTS if in_subchart else CrdFolders.NONE


def own_crds(chart: Path) -> list[str] | None:
    """Return the files of a chart's own crds/ folder; None if its .helmignore may leave some out. Raises ChartError.

    `chart` is a folder or an archive of the cache.
    """
    try:
        if chart.is_dir():
            files = {file.relative_to(chart).as_posix(): file for file in (chart / "crds").rglob("*") if file.is_file()}
            ignoring = chart / ".helmignore"
            if ignoring.is_file() and _may_ignore(ignoring.read_text(), files):
                return None
            found = [file.read_bytes() for name, file in sorted(files.items()) if _is_manifest(name)]
        else:
            packed = files_in(chart.read_bytes(), Budget())
            found = [data for name, data in packed if folders_in(name) is CrdFolders.OWN]
        if sum(map(len, found)) > MAX_CRD_BYTES:
            raise ArchiveError(f"they are larger than {MAX_CRD_BYTES >> 20} MiB")
        return [data.decode("utf-8-sig") for data in found]
    except _UNREADABLE as error:
        raise invalid(f"the chart's crds/ cannot be read: {error}") from error


def without_templates(chart: Path, folder: Path, schemas: bool = False) -> Path:
    """Write the part of a chart that decides about CRDs into an empty folder, and return its path. Raises ChartError.

    With `schemas` also these, with stand-ins for the addresses that they refer to.
    """
    budget = Budget()
    try:
        if not chart.is_dir():
            write(folder / "chart.tgz", _reduced(chart.read_bytes(), budget, schemas=schemas))
            return folder / "chart.tgz"
        for file in chart.rglob("*"):
            name = file.relative_to(chart).as_posix()
            if file.is_file() and _decides(name, schemas=schemas):
                data = _kept(name, file.read_bytes(), budget, depth=0, schemas=schemas)
                write(folder / "chart" / name, data)
        return folder / "chart"
    except _UNREADABLE as error:
        raise invalid(f"the chart's crds/ cannot be read: {error}") from error


def _reduced(data: bytes, budget: Budget, *, schemas: bool, depth: int = 0) -> bytes:
    """Return a packaged chart without what does not decide about CRDs."""
    if depth > MAX_NESTED:
        return data
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for name, each in files_in(data, budget):
            if _decides(name, schemas=schemas):
                content = _kept(name, each, budget, depth=depth, schemas=schemas)
                member = tarfile.TarInfo(f"chart/{name}")
                member.size = len(content)
                archive.addfile(member, BytesIO(content))
    return packed.getvalue()


def _kept(name: str, data: bytes, budget: Budget, *, depth: int, schemas: bool) -> bytes:
    if SUBCHART.search(name):
        return _reduced(data, budget, schemas=schemas, depth=depth + 1)
    return with_stand_ins(data) if name.rpartition("/")[2] == SCHEMA else data


def _decides(name: str, *, schemas: bool) -> bool:
    parts = PurePosixPath(name).parts
    while parts[:1] == ("charts",) and len(parts) > 2:
        parts = parts[2:]
    return parts[:1] in (("crds",), ("charts",)) or (
        len(parts) == 1 and (parts[0] in _DECIDING or (schemas and parts[0] == SCHEMA))
    )


def _is_manifest(name: str) -> bool:
    return name.lower().endswith(_EXTENSIONS)


def _may_ignore(helmignore: str, names: Iterable[str]) -> bool:
    """Whether a .helmignore may leave one of the files out; True in doubt, since helm's patterns have rules of their own."""
    files = [PurePosixPath(name) for name in names]
    candidates = {part for file in files for part in (file.as_posix(), *file.parts, *map(str, file.parents))} - {"."}
    for line in map(str.strip, helmignore.splitlines()):
        if not line or line.startswith("#"):
            continue
        if set(line) & set("!\\[") or any(fnmatch.fnmatchcase(each, line.strip("/")) for each in candidates):
            return True
    return False
