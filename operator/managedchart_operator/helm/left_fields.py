"""The fields of a release that are left to their managers, and how a manifest is edited for that.

Only what depends on the rendered objects is decided here: whether the chart's value has changed, and whether an autoscaler of
the release is still part of it. The post-renderer does it for an upgrade, so this imports little; for a rollback the stored
manifest is edited.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

from managedchart_operator.helm.manifest_edits import Rendered, SetFields, rendered_in, rewrite
from managedchart_operator.helm.manifest_fields import FieldEdit


@dataclass(frozen=True, slots=True)
class Place:
    """What identifies an object in all versions of its kind. `namespace` is "" for a cluster-wide one."""

    group: str
    kind: str
    namespace: str
    name: str

    def is_of(self, rendered: Rendered, *, release_namespace: str) -> bool:
        """Whether a rendered object is this one; it names no namespace where it is in that of the release."""
        if (self.group, self.kind, self.name) != (rendered.group, rendered.kind, rendered.name):
            return False
        # A cluster-wide object has no namespace, whatever the chart writes.
        return self.namespace in ("", rendered.namespace or release_namespace)


@dataclass(frozen=True, slots=True)
class LeftField:
    """A field of an object that is left to its manager."""

    edit: FieldEdit
    while_rendered: tuple[Place, ...] = ()
    """Autoscalers of the release: the field is also left, whatever its value, while one of them is rendered."""

    def edit_for(self, rendered: Iterable[Rendered], *, release_namespace: str) -> FieldEdit | None:
        """Return the edit in a release that renders these objects; None where the field is the chart's."""
        if not self.while_rendered:
            return self.edit
        for each in rendered:
            if any(place.is_of(each, release_namespace=release_namespace) for place in self.while_rendered):
                return FieldEdit(self.edit.path, self.edit.value, insert=self.edit.insert)
        return self.edit if self.edit.only_if is not None else None


@dataclass(frozen=True, slots=True)
class LeftFields:
    """All fields that are left to their managers in one release, by object."""

    release_namespace: str
    objects: tuple[tuple[Place, tuple[LeftField, ...]], ...] = ()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.objects)

    def apply(self, manifest: str) -> str:
        """Return the manifest without these fields, or with their values in the cluster. Raises ManifestError."""
        rendered = rendered_in(manifest)

        def edit(each: Rendered) -> SetFields | None:
            if each.is_hook:
                return None
            edits = [
                edit
                for place, fields in self.objects
                if place.is_of(each, release_namespace=self.release_namespace)
                for field in fields
                if (edit := field.edit_for(rendered, release_namespace=self.release_namespace)) is not None
            ]
            return SetFields(tuple(edits)) if edits else None

        return rewrite(manifest, edit)

    def encode(self) -> bytes:
        """Return it as JSON, for the post-renderer."""
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return what `encode` has encoded."""
        document = json.loads(data)
        objects = [(Place(**place), tuple(map(_left_field, fields))) for place, fields in document["objects"]]
        return cls(document["release_namespace"], tuple(objects))


def _left_field(document: dict[str, Any]) -> LeftField:
    edit = {**document["edit"], "path": tuple(document["edit"]["path"])}
    return LeftField(FieldEdit(**edit), tuple(Place(**place) for place in document["while_rendered"]))
