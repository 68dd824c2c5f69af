"""Words helm's error about kinds that the cluster does not serve: all of them, and what to do about each sort.

A kind of a custom resource needs its CRD. A kind of an API group that is part of Kubernetes cannot be installed: the cluster's
version no longer has it, or never had it.
"""

import re

from managedchart_operator.hints import Hint

PATTERN = (
    r'(?:resource mapping not found for name: "(?P<name>[^"]*)".*?)?no matches for kind "(?P<kind>[^"]+)" in version '
    r'"(?P<version>[^"]+)"'
)
# Only what a name can consist of: a long text is cut in its middle, where one name begins and another one ends.
_EACH = re.compile(
    r'(?:resource mapping not found for name: "(?P<name>[^"]*)"[^\n]*?)?no matches for kind "(?P<kind>\w+)" in version '
    r'"(?P<version>[\w./-]+)"'
)
# A message names this many kinds, and of each this many objects.
_KINDS, _OBJECTS = 5, 3

# The groups of Kubernetes itself, of today and of former versions, that end in k8s.io; as CRDs of Kubernetes' own projects do
# (gateway.networking.k8s.io, snapshot.storage.k8s.io). A group without a dot is always Kubernetes' own, since the group of a
# CRD must have one. Source: k8s.io/api, and kube-aggregator and apiextensions-apiserver; Kubernetes "Deprecated API Migration".
_BUILT_IN = frozenset(
    f"{name}.k8s.io"
    for name in (
        "admission",
        "admissionregistration",
        "apiextensions",
        "apiregistration",
        "auditregistration",
        "authentication",
        "authorization",
        "rbac.authorization",
        "certificates",
        "coordination",
        "discovery",
        "events",
        "flowcontrol.apiserver",
        "imagepolicy",
        "internal.apiserver",
        "networking",
        "node",
        "resource",
        "scheduling",
        "settings",
        "storage",
        "storagemigration",
    )
)

_INSTALL = "Install the CRD first (often by another chart), or use a chart version that does not need it"
_INSTALL_ALL = "Install their CRDs first (often by other charts), or use a chart version that does not need them"
_SERVED = "kubectl api-resources"


def is_built_in(api_version: str) -> bool:
    """Whether an apiVersion is one of Kubernetes itself, of whatever version, so that no CRD can define it."""
    group, slash, _ = api_version.partition("/")
    return not slash or "." not in group or group in _BUILT_IN


def message(found: re.Match[str]) -> str:
    """Name each kind once, and the objects that need it."""
    kinds = _missing(found)
    named = [f"{kind} in {version}" for kind, version in kinds]
    if len(kinds) == 1:
        [objects] = kinds.values()
        needed = f", which the chart needs for {_listed(objects, _OBJECTS)}" if objects else ""
        return f"The cluster has no kind {named[0]}{needed}"
    each = [
        f"{name} (for {_listed(objects, _OBJECTS)})" if objects else name
        for name, objects in zip(named, kinds.values(), strict=True)
    ]
    more = f"; and {len(each) - _KINDS} more" if len(each) > _KINDS else ""
    return f"The cluster does not have {len(each)} kinds that the chart needs: {'; '.join(each[:_KINDS])}{more}"


def hint(found: re.Match[str]) -> Hint:
    """Return what to do about the missing kinds."""
    kinds = _missing(found)
    built_in = [f"{kind} of {version}" for kind, version in kinds if is_built_in(version)]
    custom = len(kinds) - len(built_in)
    if not built_in:
        return Hint(_INSTALL_ALL if custom > 1 else _INSTALL)
    what = _listed(built_in, _KINDS) if custom or len(built_in) > 1 else "a kind of Kubernetes itself"
    advice = (
        f"Use a version of the chart that is made for this version of Kubernetes; no CRD can add {what}. "
        "See what the cluster has"
    )
    return Hint(f"Install the CRDs of the other kinds first. {advice}" if custom else advice, _SERVED)


def stored_message(found: re.Match[str]) -> str:
    """Name the stored objects of kinds that the cluster no longer serves."""
    kinds = _missing(found)
    objects = [
        f"{f'{kind} {name}' if name else f'a {kind}'} of {version}"
        for (kind, version), names in kinds.items()
        for name in names or [""]
    ]
    what = "a kind" if len(kinds) == 1 else "kinds"
    return f"A stored revision of the release has {_listed(objects, _KINDS)}, {what} that the cluster no longer knows"


def stored_hint(found: re.Match[str]) -> Hint:
    """Return what to do about stored objects of kinds that the cluster no longer serves."""
    remove = "remove the object from the stored revision, as the Helm plug-in mapkubeapis does"
    built_in = all(is_built_in(version) for _, version in _missing(found))
    advice = remove[0].upper() + remove[1:] if built_in else f"Install the CRD again, or {remove}"
    return Hint(advice, "helm mapkubeapis {release} --namespace {release_namespace}")


def _missing(found: re.Match[str]) -> dict[tuple[str, str], list[str]]:
    """Return the names of the objects by kind and apiVersion, in the order of helm's text."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for each in _EACH.finditer(found.string):
        names = kinds.setdefault((each["kind"], each["version"]), [])
        if each["name"] and each["name"] not in names:
            names.append(each["name"])
    return kinds or {(found["kind"], found["version"]): [found["name"]] if found["name"] else []}


def _listed(items: list[str], limit: int) -> str:
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
