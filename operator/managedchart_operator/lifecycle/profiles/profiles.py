"""The LifecycleProfiles of the cluster, as the watch last saw them."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping

from managedchart_operator.lifecycle.actions.targets import Selector
from managedchart_operator.lifecycle.profiles.matching import Part, part_of, selects
from managedchart_operator.lifecycle.profiles.profile import Profile
from managedchart_operator.lifecycle.profiles.subject import Subject


class Profiles:
    """Holds the profiles by name. Nothing runs before they are known: a check of an administrator would be left out."""

    def __init__(self, profiles: Iterable[Profile] = (), *, known: bool = True) -> None:
        self._profiles = {each.name: each for each in profiles}
        self._known = asyncio.Event()
        if known:
            self._known.set()

    def become_known(self) -> None:
        """All profiles were read, or it is clear that there are none for this operator."""
        self._known.set()

    def get(self, name: str) -> Profile | None:
        """Return a profile, or None."""
        return self._profiles.get(name)

    def names(self) -> list[str]:
        """Return the names of all profiles, sorted."""
        return sorted(self._profiles)

    @property
    def any_by_labels(self) -> bool:
        """Whether a profile is attached by labels of ManagedCharts, so that a change of them matters."""
        return any(each.match is not None and each.match.labels is not None for each in self._profiles.values())

    @property
    def any_by_namespace_labels(self) -> bool:
        """Whether a profile is attached by labels of namespaces."""
        return any(True for _ in self._namespace_selectors())

    def tell_apart(self, before: Mapping[str, str], now: Mapping[str, str]) -> bool:
        """Whether other profiles are attached with the new labels of a namespace."""
        return any(selects(each, before) != selects(each, now) for each in self._namespace_selectors())

    def _namespace_selectors(self) -> Iterator[Selector]:
        for each in self._profiles.values():
            if (
                each.match is not None
                and each.match.namespaces is not None
                and each.match.namespaces.selector is not None
            ):
                yield each.match.namespaces.selector

    def put(self, profile: Profile) -> Profile | None:
        """Keep a profile; returns the one of that name that was known before."""
        before = self._profiles.get(profile.name)
        self._profiles[profile.name] = profile
        return before

    def remove(self, name: str) -> Profile | None:
        """Drop a profile and return it."""
        return self._profiles.pop(name, None)

    async def of(self, subject: Subject) -> list[Part]:
        """Return the profiles that are for a ManagedChart, in the order of their actions. Raises KubeError."""
        await self._known.wait()
        ordered = sorted(self._profiles.values(), key=lambda each: each.order)
        return [part for profile in ordered if (part := await part_of(profile, subject)) is not None]
