"""What actions send for one object, and what an answer means that the object is another one by now."""

from typing import Any, cast

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.kube.single_writes import Writer, create, delete_exactly, scale_of
from managedchart_operator.reasons import Reason

POD = ObjectRef("v1", "Pod", "web", "apps")


class Api:
    """Answers each request with this status code, and keeps the requests."""

    def __init__(self, status: int = 200, answer: str = "") -> None:
        self.status, self.answer = status, answer
        self.sent: list[tuple[str, str, dict[str, Any]]] = []

    @property
    def client(self) -> "Api":
        return self

    async def path_of(self, ref: ObjectRef) -> str:
        return f"/{ref.name}"

    async def request(self, method: str, path: str, **options: Any) -> Any:
        self.sent.append((method, path, options))
        if self.status >= 400:
            unavailable = Reason.API_UNAVAILABLE
            raise KubeError("refused", reason=unavailable, transient=True, status=self.status, answer=self.answer)
        return {"kind": "Pod"}


def objects(api: Api) -> Objects:
    return cast("Objects", api)


async def test_a_deletion_names_the_very_object() -> None:
    api = Api()

    assert await delete_exactly(objects(api), POD, uid="u1", version="7", orphan=True)

    ((method, path, options),) = api.sent
    assert (method, path) == ("DELETE", "/web")
    assert options["body"]["preconditions"] == {"uid": "u1", "resourceVersion": "7"}
    assert options["body"]["propagationPolicy"] == "Orphan"


@pytest.mark.parametrize(("status", "deleted"), [(404, False), (409, False), (200, True)])
async def test_what_is_another_object_by_now_was_not_deleted(status: int, *, deleted: bool) -> None:
    assert await delete_exactly(objects(Api(status)), POD, uid="u1") is deleted


async def test_only_an_object_of_the_name_is_another_object() -> None:
    """A quota that somebody changes at the same moment is a conflict as well."""
    assert await create(objects(Api(409, 'pods "web" already exists')), POD, {"metadata": {}}, manager="m") is None

    quota = 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified'
    with pytest.raises(KubeError):
        await create(objects(Api(409, quota)), POD, {"metadata": {}}, manager="m")


async def test_other_refusals_are_errors() -> None:
    with pytest.raises(KubeError):
        await delete_exactly(objects(Api(403)), POD, uid="u1")


async def test_a_dry_run_is_one_for_the_api_server_too() -> None:
    api = Api()

    await Writer(objects(api), "me", dry_run=True).json_patch(POD, [])
    await Writer(objects(api), "me").merge(POD, {}, subresource="scale")

    assert [(path, options["query"], options["content_type"]) for _, path, options in api.sent] == [
        ("/web", {"fieldManager": "me", "fieldValidation": "Strict", "dryRun": "All"}, "application/json-patch+json"),
        ("/web/scale", {"fieldManager": "me", "fieldValidation": "Strict"}, "application/merge-patch+json"),
    ]


async def test_what_is_missing_is_no_error() -> None:
    assert await Writer(objects(Api(404)), "me").merge(POD, {}) is None
    assert await scale_of(objects(Api(404)), POD) is None
