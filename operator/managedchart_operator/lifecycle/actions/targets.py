"""Which objects an action is about: parts that the schemas of verbs share.

A kind of Kubernetes itself needs no apiVersion, as in kubectl; every other kind does, since a name alone may mean two kinds.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from managedchart_operator.api.object_selector import API_VERSION_PATTERN
from managedchart_operator.api.schema import ApiModel, matches, rules
from managedchart_operator.kube.objects import ObjectRef, Objects

Keep = Callable[[dict[str, Any]], dict[str, Any] | None]
"""Returns what is to be kept of an object as soon as it was read, None for nothing: a tenant may make thousands of a MiB."""

_BUILT_IN = {
    "v1": "ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume PersistentVolumeClaim Pod ReplicationController"
    " ResourceQuota Secret Service ServiceAccount",
    "apps/v1": "DaemonSet Deployment ReplicaSet StatefulSet",
    "batch/v1": "CronJob Job",
    "autoscaling/v2": "HorizontalPodAutoscaler",
    "policy/v1": "PodDisruptionBudget",
    "networking.k8s.io/v1": "Ingress IngressClass NetworkPolicy",
    "rbac.authorization.k8s.io/v1": "ClusterRole ClusterRoleBinding Role RoleBinding",
    "storage.k8s.io/v1": "CSIDriver StorageClass VolumeAttachment",
    "scheduling.k8s.io/v1": "PriorityClass",
    "coordination.k8s.io/v1": "Lease",
    "discovery.k8s.io/v1": "EndpointSlice",
    "admissionregistration.k8s.io/v1": "MutatingWebhookConfiguration ValidatingWebhookConfiguration",
    "apiextensions.k8s.io/v1": "CustomResourceDefinition",
    "apiregistration.k8s.io/v1": "APIService",
}
_VERSIONS = {kind: version for version, kinds in _BUILT_IN.items() for kind in kinds.split()}

NAME_OR_SELECTOR = "set exactly one of name and selector"
EMPTY_SELECTOR = "the selector matches everything: give it matchLabels or matchExpressions"

# A message names the first few; the others are alike.
_NAMED = 3
_KIND = "^[A-Z][A-Za-z0-9]*$"
_SELECTS = (
    "(has(self.matchLabels) && self.matchLabels.size() > 0)"
    " || (has(self.matchExpressions) && self.matchExpressions.size() > 0)"
)
LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
_LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317, pattern=LABEL_KEY)]
LabelValue = Annotated[str, StringConstraints(max_length=63, pattern=_LABEL_VALUE)]


class Requirement(ApiModel):
    """One expression of a label selector, as in Kubernetes."""

    key: LabelKey
    """The label."""
    operator: Annotated[str, Field(pattern="^(In|NotIn|Exists|DoesNotExist)$")]
    """In, NotIn, Exists or DoesNotExist."""
    values: list[LabelValue] = Field(default_factory=list, max_length=16)
    """The values of In and NotIn."""

    def text(self) -> str:
        """Return it as the API server's query has it."""
        values = f"({','.join(self.values)})"
        forms = {"In": f"{self.key} in {values}", "NotIn": f"{self.key} notin {values}"}
        return forms.get(self.operator, self.key if self.operator == "Exists" else f"!{self.key}")

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        if bool(self.values) != (self.operator in ("In", "NotIn")):
            raise ValueError("values go with In and NotIn")
        return self


class Selector(ApiModel):
    """A label selector, as in Kubernetes; an empty one is refused, because it would match everything."""

    model_config = ConfigDict(json_schema_extra=rules((_SELECTS, EMPTY_SELECTOR)))

    match_labels: dict[str, LabelValue] = Field(default_factory=dict, max_length=16)
    """Labels that the objects have."""
    match_expressions: list[Requirement] = Field(default_factory=list, max_length=16)
    """Expressions that all hold for their labels."""

    def text(self) -> str:
        """Return it as the API server's query has it."""
        labels = [f"{key}={value}" for key, value in sorted(self.match_labels.items())]
        return ",".join([*labels, *(each.text() for each in self.match_expressions)])

    @model_validator(mode="after")
    def _selects_something(self) -> Self:
        if not self.match_labels and not self.match_expressions:
            raise ValueError(EMPTY_SELECTOR)
        return self


class KindRef(ApiModel):
    """A kind of objects."""

    api_version: str | None = Field(
        default=None,
        pattern=API_VERSION_PATTERN,
        max_length=317,
        json_schema_extra=matches(API_VERSION_PATTERN, "write apiVersion as in the manifest, like apps/v1 or v1"),
    )
    """API version of the kind, like apps/v1; a kind of Kubernetes itself needs none."""
    kind: str = Field(
        min_length=1,
        max_length=63,
        pattern=_KIND,
        json_schema_extra=matches(_KIND, "write the kind as in a manifest, like Deployment"),
    )
    """Kind, as in a manifest, like Deployment."""

    @property
    def version(self) -> str:
        """The apiVersion, where `kind_problem` is empty."""
        return self.api_version or _VERSIONS[self.kind]

    def kind_problem(self) -> str:
        """Return what is wrong with it; "" for nothing."""
        if self.api_version is None and self.kind not in _VERSIONS:
            return f"kind {self.kind} is not one of Kubernetes itself: correct its name, or add its apiVersion"
        return ""

    def __str__(self) -> str:
        return self.kind


class NamedObject(KindRef):
    """One object."""

    name: str = Field(min_length=1, max_length=253)
    """Name of the object."""
    namespace: str | None = Field(default=None, min_length=1, max_length=63)
    """Namespace of the object; default the release's. Not for cluster-wide kinds."""

    async def ref(self, objects: Objects, namespace: str) -> ObjectRef:
        """Return the reference; `namespace` is the default. Raises KubeError (KIND_MISSING)."""
        return await objects.resolve(ObjectRef(self.version, self.kind, self.name, self.namespace or namespace))


class ObjectsRef(KindRef):
    """One object by its name, or several by a selector."""

    model_config = ConfigDict(json_schema_extra=rules(("has(self.name) != has(self.selector)", NAME_OR_SELECTOR)))

    name: str | None = Field(default=None, min_length=1, max_length=253)
    """Name of the object."""
    selector: Selector | None = None
    """Labels of the objects."""
    namespace: str | None = Field(default=None, min_length=1, max_length=63)
    """Namespace of the objects; default the release's. Not for cluster-wide kinds."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.name is None) == (self.selector is None):
            raise ValueError(NAME_OR_SELECTOR)
        return self

    async def find(self, objects: Objects, namespace: str, *, keep: Keep) -> list[dict[str, Any]]:
        """Return the objects that exist now, of each what is to be kept; `namespace` is the default. Raises KubeError."""
        return await find(
            objects,
            self,
            name=self.name,
            labels=self.selector.text() if self.selector else "",
            namespace=self.namespace or namespace,
            keep=keep,
        )


async def find(
    objects: Objects, kind: KindRef, *, name: str | None, labels: str, namespace: str, keep: Keep
) -> list[dict[str, Any]]:
    """Return the objects of a kind with a name, or else with these labels; of each what is to be kept.

    Raises KubeError, and what `keep` raises.
    """
    where = await objects.resolve(ObjectRef(kind.version, kind.kind, name or "", namespace))
    if name is not None:
        found = await objects.get(where)
        kept = keep(found) if found else None
        return [kept] if kept is not None else []

    def typed(item: dict[str, Any]) -> dict[str, Any] | None:
        # A list leaves apiVersion and kind out of its items.
        return keep({"apiVersion": kind.version, "kind": kind.kind, **item})

    return await objects.list(kind.version, kind.kind, namespace=where.namespace, labels=labels, keep=typed)


def containers(value: Any) -> int:
    """Return how many lists and mappings a value has, which are what takes memory."""
    count, left = 0, [value]
    while left:
        each = left.pop()
        if isinstance(each, dict | list):
            count += 1
            left.extend(each.values() if isinstance(each, dict) else each)
    return count


def name_only(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return of an object what names it."""
    named = {key: item["metadata"][key] for key in ("name", "namespace") if key in item["metadata"]}
    return {**{key: item[key] for key in ("apiVersion", "kind") if key in item}, "metadata": named}


def kind_problems(**kinds: KindRef | None) -> Iterator[str]:
    """Yield what is wrong with kinds, each with its field; "" is the verb itself."""
    for place, kind in kinds.items():
        if kind is not None and (problem := kind.kind_problem()):
            yield f"{place}: {problem}"


def described(found: Mapping[str, Any]) -> str:
    """Return an object's kind and name for a message."""
    meta = found["metadata"]
    name = f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else meta["name"]
    return f"{found.get('kind', 'object')} {name}"


def some(objects: Sequence[Mapping[str, Any]]) -> str:
    """Return the first of the objects for a message, and how many more there are."""
    more = f" and {len(objects) - _NAMED} more" if len(objects) > _NAMED else ""
    return ", ".join(described(each) for each in objects[:_NAMED]) + more


def get_command(ref: ObjectRef, *, labels: str = "") -> str:
    """Return the command that shows an object, all with these labels, or without both all of the kind in the namespace."""
    kind = ref.kind.lower() + (f".{group}" if (group := ref.group_kind[0]) else "")
    at = f"--namespace {ref.namespace} " if ref.namespace else ""
    which = f" {ref.name}" if ref.name else f" --selector={shlex.quote(labels)}" if labels else ""
    return f"kubectl {at}get {kind}{which}"


def what(kind: KindRef, namespace: str, *, name: str | None, selector: Selector | None) -> str:
    """Return what an action is about for a message; `namespace` is "" for cluster-wide kinds."""
    if name:
        return f"{kind.kind} {f'{namespace}/' if namespace else ''}{name}"
    labels = f" with {selector.text()}" if selector else ""
    return f"{kind.kind}{labels}{f' in namespace {namespace}' if namespace else ''}"
