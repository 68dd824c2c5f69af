"""`scale`: the number of replicas, by the subresource `scale`, as `kubectl scale` sets it.

By that the chart's own number is left out of upgrades until it changes in the chart (`spec.conflicts`).
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from managedchart_operator.errors import LifecycleError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.kube.single_writes import SCALE, scale_of
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.lifecycle.actions.targets import NamedObject
from managedchart_operator.lifecycle.actions.verb import Done, Verb
from managedchart_operator.lifecycle.actions.writing import missing, refusals, writer
from managedchart_operator.reasons import Reason
from managedchart_operator.waiting.kstatus import State, readiness

# Pods start and end within seconds.
_LOOK_SECONDS = 0.5


class Scale(NamedObject, Verb):
    """Sets the number of replicas of a workload."""

    verb: ClassVar[str] = "scale"
    needs: ClassVar[tuple[str, ...]] = ("get", "patch")

    replicas: int = Field(ge=0, le=1000, strict=True)
    """The number of replicas."""
    wait: bool = True
    """Wait until so many run and are ready, within the action's timeout."""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with its kind."""
        if problem := self.kind_problem():
            yield f"kind: {problem}"

    async def run(self, scene: Scene) -> Done:
        """Set the replicas and wait. Raises LifecycleError, KubeError."""
        ref = await self.ref(scene.cluster, scene.namespace)
        before = _wanted(await self._scale(scene, ref))
        if before != self.replicas:
            with refusals(scene, ref):
                answer = await writer(scene).merge(ref, {"spec": {"replicas": self.replicas}}, subresource=SCALE)
            if answer is None:
                raise missing(ref)
        if self.wait:
            await self._until_scaled(scene, ref)
        if before == self.replicas:
            return Done(f"{ref} has {self.replicas} replicas already")
        return Done(f"Scaled {ref} from {before} to {self.replicas}", {"before": before})

    async def preview(self, scene: Scene) -> Done:
        """Say whether it would change the replicas."""
        ref = await self.ref(scene.cluster, scene.namespace)
        with refusals(scene, ref):
            found = await scale_of(scene.cluster, ref)
        if found is None:
            return Done(f"{ref} does not exist yet")
        before = _wanted(found)
        if before == self.replicas:
            return Done(f"{ref} has {self.replicas} replicas already")
        return Done(f"Would scale {ref} from {before} to {self.replicas}")

    async def _scale(self, scene: Scene, ref: ObjectRef) -> dict[str, Any]:
        """Return the scale of the object. Raises LifecycleError if it does not exist or has none, KubeError."""
        with refusals(scene, ref):
            found = await scale_of(scene.cluster, ref)
            if found is None and await scene.cluster.get(ref) is not None:
                raise LifecycleError(
                    f"{ref} cannot be scaled: its kind has no subresource scale",
                    reason=Reason.LIFECYCLE_FAILED,
                    transient=False,
                )
        if found is None:
            raise missing(ref)
        return found

    async def _until_scaled(self, scene: Scene, ref: ObjectRef) -> None:
        """Wait until the pods have the number, and the object is ready. The action has the deadline. Raises LifecycleError."""
        while True:
            found = await self._scale(scene, ref)
            if (wanted := _wanted(found)) != self.replicas:
                raise LifecycleError(
                    f"{ref} was scaled to {wanted} by somebody else while the action waited",
                    hint="See whether an autoscaler targets it: kubectl get horizontalpodautoscalers -A",
                )
            running = (found.get("status") or {}).get("replicas") or 0
            if running == self.replicas:
                with refusals(scene, ref):
                    state = readiness(await scene.cluster.get(ref) or {}, ref.group_kind)
                if state.state is State.CURRENT:
                    return
                scene.progress = f"{ref}: {state.message}"
            else:
                scene.progress = f"{ref} has {running} of {self.replicas} replicas"
            await asyncio.sleep(_LOOK_SECONDS)


def _wanted(scale: Mapping[str, Any]) -> int:
    return int((scale.get("spec") or {}).get("replicas") or 0)
