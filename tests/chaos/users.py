"""The people who apply and delete ManagedCharts, and try again when the API server is away.

Purpose: carries out the wishes. Boundary: touches nothing but ManagedCharts and their namespaces. Invariant: a wish
that was accepted stands in `wishes`; one for a name that is still being deleted waits until that is gone.
"""

import time
from typing import Any

import requests
from pytest_kind import KindCluster

from chaos.schedule import Resource, Wish, spec
from harness.cluster import MANAGEDCHARTS, managedchart

# An API server that was killed is back after a few seconds, on a busy machine after a few tens.
_ACCEPTED_WITHIN = 60.0
_RETRY_SECONDS = 0.1


class Users:
    """Applies and deletes; `wishes` is what they want in the end, None for what they deleted."""

    def __init__(self, kind: KindCluster, *, charts: str) -> None:
        self._session = kind.api.session
        self._url = kind.api.url
        self._charts = charts
        self._leaving: set[Resource] = set()
        self._waiting: dict[Resource, Wish] = {}
        self.wishes: dict[Resource, Wish | None] = {}

    def apply(self, resource: Resource, wish: Wish) -> None:
        """Ask for something; where the resource is still being deleted, as soon as that is done."""
        self.wishes[resource] = wish
        self._waiting[resource] = wish
        self.catch_up()

    def delete(self, resource: Resource) -> None:
        """Delete a resource without waiting."""
        self.wishes[resource] = None
        if self._waiting.pop(resource, None) is None:
            self._until_accepted("DELETE", resource)
            self._leaving.add(resource)

    def catch_up(self) -> bool:
        """Apply what waits for a deletion and can be applied now; returns whether nothing waits any more."""
        for resource, wish in list(self._waiting.items()):
            if resource in self._leaving:
                if self._until_accepted("GET", resource) is not None:
                    continue
                self._leaving.remove(resource)
            body = managedchart(resource.name, **spec(resource, wish, charts=self._charts))
            self._until_accepted("PATCH", resource, body)
            del self._waiting[resource]
        return not self._waiting

    def _until_accepted(self, method: str, resource: Resource, body: Any = None) -> dict[str, Any] | None:
        """Ask until the API server answers; None where there is no such resource."""
        url = f"{self._url}{MANAGEDCHARTS}/namespaces/{resource.namespace}/managedcharts/{resource.name}"
        last: object = None
        deadline = time.monotonic() + _ACCEPTED_WITHIN
        while time.monotonic() < deadline:
            try:
                answer = self._session.request(
                    method,
                    url,
                    params={"fieldManager": "users", "force": "true"} if body else None,
                    json=body,
                    headers={"Content-Type": "application/apply-patch+yaml"} if body else None,
                    timeout=10,
                )
            except requests.RequestException as error:
                last = error
            else:
                if answer.ok:
                    found: dict[str, Any] = answer.json()
                    return found
                # One that has just started may not serve the CRD yet, and says 404 without a name.
                if answer.status_code == requests.codes.not_found and f'"name":"{resource.name}"' in answer.text:
                    return None
                last = answer.text
            time.sleep(_RETRY_SECONDS)
        raise AssertionError(f"{method} of {resource.name} was not accepted: {last}")
