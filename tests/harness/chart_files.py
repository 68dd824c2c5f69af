"""Small charts, written where a test needs them.

Boundary: files only; the charts that many tests share stand in tests/charts.
"""

import base64
import io
import tarfile
from pathlib import Path

_CONFIG_MAP = """apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  message: {{ .Values.message | default "hello" | quote }}
"""


def chart_files(name: str = "small", version: str = "1.0.0", **templates: str) -> dict[str, str]:
    """Return the files of a chart, by their paths in it; without templates it renders one ConfigMap."""
    files = {"Chart.yaml": f"apiVersion: v2\nname: {name}\nversion: {version}\n"}
    for template, text in (templates or {"configmap": _CONFIG_MAP}).items():
        files[f"templates/{template}.yaml"] = text
    return files


def write_chart(folder: Path, files: dict[str, str] | None = None) -> Path:
    """Write a chart's files into a folder, which is made, and return it."""
    for name, text in (chart_files() if files is None else files).items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return folder


def package_chart(files: dict[str, str] | None = None, *, top: str = "small") -> bytes:
    """Return a packaged chart, as `helm package` makes it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in (chart_files() if files is None else files).items():
            data = text.encode()
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def contents(data: bytes) -> dict[str, str]:
    """Return the chart source that holds a package itself."""
    return {"contents": base64.b64encode(data).decode()}
