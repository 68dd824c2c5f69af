"""`http`: a Service answers a GET with a status, through the API server as the identity of the action."""

import re
from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import unquote

from pydantic import Field

from managedchart_operator.errors import LifecycleError
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.lifecycle.actions.services import Path, ServiceRef
from managedchart_operator.lifecycle.actions.verb import Done, Verb

_FIRST_FAILURE = 400


class Http(ServiceRef, Verb):
    """Checks that a Service answers, and with which status."""

    verb: ClassVar[str] = "http"
    writes: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("get services/proxy",)

    path: Path = "/"
    """Path and query of the request."""
    status: int | None = Field(default=None, ge=100, le=599, strict=True)
    """The status of the answer; default any below 400."""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with its path."""
        # An escaped dot is one: a request with it would leave the Service, and ask the API server itself.
        path = unquote(self.path.partition("?")[0])
        if any(part in (".", "..") for part in re.split(r"[/\\]", path)) or "#" in self.path:
            yield 'path: write it without ".." and "#"'

    async def run(self, scene: Scene) -> Done:
        """Call the Service once; what it answers is in no message. Raises LifecycleError, KubeError."""
        path, _, query = self.path.partition("?")
        pairs = dict(each.partition("=")[::2] for each in query.split("&") if each)
        answer = await self.call(scene, path, query=pairs or None)
        fits = answer.status == self.status if self.status is not None else answer.status < _FIRST_FAILURE
        if not fits:
            wanted = f", not {self.status}" if self.status is not None else ""
            raise LifecycleError(
                f"Service {self.namespace or scene.namespace}/{self.service} answers {answer.status}{wanted}"
            )
        return Done(f"Service {self.namespace or scene.namespace}/{self.service} answers {answer.status}")
