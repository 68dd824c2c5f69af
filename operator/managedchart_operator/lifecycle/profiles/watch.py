"""Follows the LifecycleProfiles of the cluster, and writes to each whether it is accepted.

An operator that may not list them, or a cluster without their CRD, has no profiles: the log says so once, and the operator asks
again from time to time. Profiles that were known are kept while they cannot be read, because a run without an
administrator's checks is worse than one with those of a minute ago.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from managedchart_operator.api.resource import API_VERSION
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import MERGE_PATCH, METADATA, METADATA_LIST, KubeClient
from managedchart_operator.kube.discovery import quoted
from managedchart_operator.kube.watch import changes
from managedchart_operator.lifecycle.plugins.catalog import Plugins
from managedchart_operator.lifecycle.profiles.model import ACCEPTED, DEFINITION, PLURAL
from managedchart_operator.lifecycle.profiles.profile import Profile, read_profile
from managedchart_operator.lifecycle.profiles.profiles import Profiles
from managedchart_operator.shortening import cut
from managedchart_operator.times import write_time

logger = logging.getLogger(__name__)

PATH = f"/apis/{API_VERSION}/{PLURAL}"
# An API server that has just started refuses everybody for a moment.
_SECOND_LOOK_SECONDS = 1.0
_UNKNOWN_SECONDS = 2.0
_MESSAGE_LENGTH = 2048

Changed = Callable[[Profile | None, Profile | None], Awaitable[None]]
"""Called with a profile before and after a change; None where there is none. Not for those that were there at the start."""


class ProfileWatch:
    """Keeps the profiles up to date; `seconds` is the time between two looks for profiles that cannot be listed."""

    def __init__(
        self,
        client: KubeClient,
        profiles: Profiles,
        changed: Changed,
        *,
        seconds: float,
        plugins: Plugins | None = None,
    ) -> None:
        self._client = client
        self.profiles = profiles
        self._changed = changed
        self._seconds = seconds
        self._plugins = plugins
        self._started = False
        self._said = ""

    async def follow(self) -> None:
        """Follow the profiles until cancelled."""
        while True:
            try:
                await self._look()
                async for change in changes(self._client, PATH):
                    match change.type:
                        case "Listed":
                            await self._listed(change.object["items"])
                        case "DELETED":
                            await self._removed(change.object["metadata"]["name"])
                        case _:
                            await self._seen(change.object)
            except KubeError as error:
                await self._refused(error)
            # Until they are known, everything waits.
            await asyncio.sleep(self._seconds if self._started else min(self._seconds, _UNKNOWN_SECONDS))

    async def _look(self) -> None:
        """Ask whether profiles can be listed. Raises KubeError."""
        query = {"limit": "1"}
        try:
            await self._client.request("GET", PATH, query=query, accept=METADATA_LIST)
        except KubeError as error:
            if error.status != 403:
                raise
            await asyncio.sleep(_SECOND_LOOK_SECONDS)
            await self._client.request("GET", PATH, query=query, accept=METADATA_LIST)

    async def _refused(self, error: KubeError) -> None:
        """There are no profiles, or they cannot be read now."""
        if error.status not in (403, 404):
            logger.warning("cannot list LifecycleProfiles yet: %s", error.message)
            return
        if error.status == 404:
            await self._listed(())
            why = f"the CRD {DEFINITION} is not installed"
        else:
            why = f"the operator may not list them, as deploy/rbac.yaml allows: {error.answer or error.message}"
        if self._said != why:
            self._said = why
            logger.log(logging.INFO if error.status == 404 else logging.WARNING, "no LifecycleProfiles: %s", why)
        self._known()

    def _known(self) -> None:
        self._started = True
        self.profiles.become_known()

    async def _listed(self, items: Any) -> None:
        if self._said and items:
            logger.info("LifecycleProfiles can be read now")
            self._said = ""
        present = {item["metadata"]["name"] for item in items}
        for name in self.profiles.names():
            if name not in present:
                await self._removed(name)
        for item in items:
            await self._seen(item)
        self._known()

    async def _removed(self, name: str) -> None:
        if (before := self.profiles.remove(name)) is not None:
            logger.info("LifecycleProfile %s was deleted", name)
            await self._changed(before, None)

    async def _seen(self, body: Mapping[str, Any]) -> None:
        meta = body["metadata"]
        before = self.profiles.get(meta["name"])
        if before is None or (before.uid, before.generation) != (meta["uid"], meta.get("generation", 0)):
            profile = await read_profile(body, self._plugins)
            self.profiles.put(profile)
            if self._started:
                logger.info("LifecycleProfile %s was %s", profile.name, "changed" if before else "added")
                await self._changed(before, profile)
        else:
            profile = before
        await self._write(profile, body.get("status") or {})

    async def _write(self, profile: Profile, status: Mapping[str, Any]) -> None:
        """Write the condition Accepted, unless the status has it."""
        wanted = _status(profile, status)
        if wanted == {key: status.get(key) for key in wanted}:
            return
        if profile.error is not None:
            logger.warning("LifecycleProfile %s is invalid: %s", profile.name, profile.error.message)
        path = f"{PATH}/{quoted(profile.name)}/status"
        body = {"metadata": {"uid": profile.uid}, "status": wanted}
        try:
            await self._client.request("PATCH", path, body=body, content_type=MERGE_PATCH, accept=METADATA)
        except KubeError as error:
            if error.status not in (404, 409):
                logger.warning("cannot write the status of LifecycleProfile %s: %s", profile.name, error.message)


def _status(profile: Profile, now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the status of a profile; `now` is what it has."""
    error = profile.error
    condition: dict[str, Any] = {
        "type": ACCEPTED,
        "status": "True" if error is None else "False",
        "observedGeneration": profile.generation,
        "reason": ACCEPTED if error is None else error.reason.value,
        "message": _summary(profile) if error is None else cut(error.message, _MESSAGE_LENGTH),
    }
    known: Mapping[str, Any] = next((each for each in now.get("conditions") or () if each.get("type") == ACCEPTED), {})
    since = known.get("lastTransitionTime") if known.get("status") == condition["status"] else None
    condition["lastTransitionTime"] = since or write_time()
    return {"observedGeneration": profile.generation, "conditions": [condition]}


def _summary(profile: Profile) -> str:
    count = len(profile.actions)
    account = f", as ServiceAccount {profile.identity.namespace}/{profile.identity.name}" if profile.identity else ""
    return f"{count} action{'' if count == 1 else 's'}{account}"
