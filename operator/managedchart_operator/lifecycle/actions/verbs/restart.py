"""`restart`: new pods for a workload, once for one change, as `kubectl rollout restart` makes them.

An annotation of the pods says for which change they were made, so a run that is repeated restarts nothing again.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from managedchart_operator.api.resource import GROUP
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.lifecycle.actions.targets import NamedObject
from managedchart_operator.lifecycle.actions.verb import Done, Verb
from managedchart_operator.lifecycle.actions.writing import missing, refusals, writer

ANNOTATION = f"{GROUP}/restarted-for"
"""The annotation of the pods that names the change for which they were made."""

_KINDS = ("Deployment", "StatefulSet", "DaemonSet")


class Watched(NamedObject):
    """A ConfigMap or Secret."""

    kind: str = Field(pattern="^(ConfigMap|Secret)$", max_length=63)
    """ConfigMap or Secret."""


class Restart(NamedObject, Verb):
    """Gives a Deployment, StatefulSet or DaemonSet new pods, once for one change."""

    verb: ClassVar[str] = "restart"
    needs: ClassVar[tuple[str, ...]] = ("get", "patch")

    kind: str = Field(pattern=f"^({'|'.join(_KINDS)})$", max_length=63)
    """Deployment, StatefulSet or DaemonSet."""
    if_changed: list[Watched] = Field(default_factory=list, max_length=16)
    """Only if the data of one of these has changed since the last restart by it; without it once for each revision."""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with its kinds."""
        if self.api_version not in (None, "apps/v1"):
            yield f"apiVersion: {self.kind} is of apps/v1: leave it out"

    async def run(self, scene: Scene) -> Done:
        """Change the annotation of the pods. Raises LifecycleError, KubeError."""
        return await self._restart(scene, dry_run=False)

    async def preview(self, scene: Scene) -> Done:
        """Say whether it would restart the workload."""
        return await self._restart(scene, dry_run=True)

    async def _restart(self, scene: Scene, *, dry_run: bool) -> Done:
        ref = await self.ref(scene.cluster, scene.namespace)
        found = await scene.cluster.get(ref)
        if found is None:
            if dry_run:
                return Done(f"{ref} does not exist yet")
            raise missing(ref)
        change = await self._change(scene)
        template = found["spec"]["template"].get("metadata") or {}
        if (template.get("annotations") or {}).get(ANNOTATION) == change:
            return Done(f"{ref} was restarted for this change already")
        if not dry_run:
            body = {"spec": {"template": {"metadata": {"annotations": {ANNOTATION: change}}}}}
            # Not server-side apply: that would remove what the verb `apply` has set in the same object as the same manager.
            with refusals(scene, ref):
                await writer(scene).merge(ref, body)
        return Done(f"{'Would restart' if dry_run else 'Restarted'} {ref}")

    async def _change(self, scene: Scene) -> str:
        """Return what identifies the change: a digest of the watched data, or else what this run carries out."""
        if not self.if_changed:
            return scene.stamp
        data: list[Any] = []
        for watched in self.if_changed:
            found = await scene.cluster.get(await watched.ref(scene.cluster, scene.namespace)) or {}
            data.append([found.get("data"), found.get("binaryData")])
        # Who reads the annotation could guess what a Secret of an administrator has.
        text = json.dumps([data, scene.account] if scene.foreign else data, sort_keys=True)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:32]}"
