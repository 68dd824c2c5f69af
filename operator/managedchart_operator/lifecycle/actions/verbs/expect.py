"""`expect`: a CEL expression over objects is true."""

from collections.abc import Iterator
from typing import ClassVar

from managedchart_operator.errors import LifecycleError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.actions import expressions, places
from managedchart_operator.lifecycle.actions.envelope import CelText
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.lifecycle.actions.targets import ObjectsRef, get_command, some, what
from managedchart_operator.lifecycle.actions.verb import Done, Expression, Verb

_VARIABLES = ("objects", "release", "spec", "payload")


class Expect(ObjectsRef, Verb):
    """Checks that a CEL expression over objects is true."""

    verb: ClassVar[str] = "expect"
    writes: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("get", "list")

    expr: CelText
    """The expression, over objects (a list, empty if there are none), release, spec and payload; without data of Secrets."""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with its kind."""
        if problem := self.kind_problem():
            yield f"kind: {problem}"

    def expressions(self) -> Iterator[Expression]:
        """Yield its expression."""
        yield Expression("expect.expr", self.expr, _VARIABLES)

    async def run(self, scene: Scene) -> Done:
        """Evaluate the expression. Raises LifecycleError, KubeError."""
        (expression,), seen = self.expressions(), expressions.Visible()
        async with places.for_expression(scene):
            found = await self.find(scene.cluster, scene.namespace, keep=seen.take)
            is_true = await expressions.holds(expression, scene.variables, seen)
        if not is_true:
            # A tenant reads what an account of an administrator sees: how many, but not which.
            named = "" if scene.foreign else f": {some(found)}"
            where = await self._where(scene)
            none = what(self, where.namespace, name=self.name, selector=self.selector)
            about = f"{len(found)} {self.kind}{named}" if found else f"0 {self.kind}: there is no {none}"
            seen_by_it = get_command(where, labels=self.selector.text() if self.selector else "")
            raise LifecycleError(
                f"{self.expr} is false for {about}",
                hint=f"See the objects, which a rollback may have changed since: {seen_by_it} -o yaml",
            )
        return Done(f"True for {len(found)} {self.kind}")

    async def _where(self, scene: Scene) -> ObjectRef:
        namespace = self.namespace or scene.namespace
        return await scene.cluster.resolve(ObjectRef(self.version, self.kind, self.name or "", namespace))
