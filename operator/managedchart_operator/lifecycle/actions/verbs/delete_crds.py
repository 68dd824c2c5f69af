"""`deleteCRDs`: CustomResourceDefinitions are deleted with the release, and with them all objects of their kinds.

It does not wait until they are deleted: the API server takes minutes for a CRD that is deleted right after its creation.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from managedchart_operator.api.schema import rules
from managedchart_operator.api.status import Phase
from managedchart_operator.kube.cluster_crds import API_VERSION, KIND
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.lifecycle.actions.verb import Done, TenantData, Verb
from managedchart_operator.lifecycle.context import ChartCrds, Operation, PhaseContext
from managedchart_operator.lifecycle.release_crds import NOT_DEPLOYED, why_kept
from managedchart_operator.shortening import listed

NAMES_OR_GROUP = "set exactly one of names and group"
CONFIRM = "deleting a CRD deletes all objects of its kind: set confirmDataLoss: true"

_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$"
CrdName = Annotated[str, StringConstraints(min_length=3, max_length=253, pattern=_SUBDOMAIN)]


class OnlyOf(StrEnum):
    """Which of the named CRDs are deleted."""

    RELEASE = "Release"
    ANYONE = "Anyone"


class DeleteCrds(Verb):
    """Deletes CustomResourceDefinitions with the release, and so all objects of their kinds."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.names) != has(self.group)", NAMES_OR_GROUP),
            ("has(self.confirmDataLoss) && self.confirmDataLoss", CONFIRM),
        )
    )

    verb: ClassVar[str] = "deleteCRDs"
    phases: ClassVar[Sequence[Phase]] = (Phase.PRE_DELETE, Phase.POST_DELETE)
    needs: ClassVar[tuple[str, ...]] = ("get", "list", "delete")

    names: list[CrdName] = Field(default_factory=list, max_length=64)
    """Names of the CRDs, like certificates.cert-manager.io."""
    group: CrdName | None = None
    """API group whose CRDs are deleted, instead of names."""
    only_of: OnlyOf = OnlyOf.RELEASE
    """Release deletes only those that this release brought; Anyone all of them."""
    confirm_data_loss: bool = Field(strict=True)
    """true confirms that all objects of the kinds are deleted as well."""

    @model_validator(mode="after")
    def _is_confirmed(self) -> Self:
        if bool(self.names) == (self.group is not None):
            raise ValueError(NAMES_OR_GROUP)
        if not self.confirm_data_loss:
            raise ValueError(CONFIRM)
        return self

    def tenant_data(self) -> TenantData | None:
        """Return what it needs of the release."""
        if self.only_of is OnlyOf.ANYONE:
            return None
        remedy = "set onlyOf: Anyone if these CRDs are to be deleted whoever created them"
        return TenantData("the tenant writes what the release brings", "onlyOf", remedy)

    async def before_exec(self, context: PhaseContext) -> None:
        """Note which CRDs the release has, before it is uninstalled. Raises KubeError."""
        if self.only_of is OnlyOf.RELEASE and context.operation is Operation.UNINSTALL:
            await context.extras.installed_crds()

    async def run(self, scene: Scene) -> Done:
        """Delete the CRDs. Raises KubeError."""
        due, kept = await self._sorted(scene)
        for name in due:
            await scene.cluster.delete(ObjectRef(API_VERSION, KIND, name))
        return Done(_summary("Deleted", due, kept))

    async def preview(self, scene: Scene) -> Done:
        """Say which it would delete."""
        return Done(_summary("Would delete", *await self._sorted(scene)))

    async def _sorted(self, scene: Scene) -> tuple[list[str], dict[str, list[str]]]:
        """Return the CRDs to delete, and those to keep by the reason."""
        installed = None if self.only_of is OnlyOf.ANYONE else await scene.context.extras.installed_crds()
        due: list[str] = []
        kept: dict[str, list[str]] = {}
        for crd in await self._present(scene):
            why = None if self.only_of is OnlyOf.ANYONE else _why_kept(scene.context, crd, installed)
            (kept.setdefault(why, []) if why else due).append(crd["name"])
        return due, kept

    async def _present(self, scene: Scene) -> list[dict[str, Any]]:
        """Return the metadata of the CRDs that exist and are not being deleted, sorted by name."""
        found = [item["metadata"] for item in await scene.cluster.list(API_VERSION, KIND, metadata_only=True)]
        named = [crd for crd in found if crd["name"] in self.names or crd["name"].partition(".")[2] == self.group]
        return sorted((crd for crd in named if not crd.get("deletionTimestamp")), key=lambda crd: str(crd["name"]))


def _why_kept(context: PhaseContext, crd: dict[str, Any], installed: ChartCrds | None) -> str | None:
    return NOT_DEPLOYED if installed is None else why_kept(context, crd, installed)


def _summary(what: str, due: Sequence[str], kept: dict[str, list[str]]) -> str:
    parts = [f"{what} {listed(f'CRD {name}' for name in due)}"] if due else []
    parts += [f"Kept {listed(f'CRD {name}' for name in names)}, because {why}" for why, names in kept.items()]
    return "; ".join(parts) or "There are no such CRDs"
