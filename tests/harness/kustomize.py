"""A folder like the one that a user has: deploy/ of the repository, and beside it my-operator/ with a profile.

The files are those of docs/security.md, "Profiles of permissions"; a test compares them.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from conftest import REPOSITORY

NAMESPACED = "namespaced"


def my_operator(folder: Path, component: str | None, namespaces: Sequence[str] = ()) -> Path:
    """Write the folder, and return my-operator/. The namespaces are for the profile `namespaced`; None is deploy/ as it is."""
    ignored = shutil.ignore_patterns("chart")
    shutil.copytree(REPOSITORY / "deploy", folder / "deploy", ignore=ignored, dirs_exist_ok=True)
    made = folder / "my-operator"
    for name, text in kustomizations(component, namespaces if component == NAMESPACED else ()).items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    return made


def kustomizations(component: str | None, namespaces: Sequence[str]) -> dict[str, str]:
    """Return the files of my-operator/ by name."""
    resources = ", ".join(["../deploy", *namespaces])
    text = f"resources: [{resources}]\n"
    if component:
        text += f"components: [../deploy/profiles/{component}]\n"
    files = {
        f"{namespace}/kustomization.yaml": (
            f"namespace: {namespace}\nresources: [../../deploy/profiles/namespaced/namespace]\n"
        )
        for namespace in namespaces
    }
    if namespaces:
        text += f"""patches:
- target: {{kind: Deployment, name: managedchart-operator}}
  patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {{name: managedchart-operator}}
    spec:
      template:
        spec:
          containers:
          - name: operator
            env:
            - {{name: MANAGEDCHART_NAMESPACES, value: '{json.dumps(list(namespaces))}'}}
"""
    return {"kustomization.yaml": text, **files}
