"""Lists are read in pages that are bounded in bytes (S22)."""

import json
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from harness.api_server import FakeApiServer
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.pages import FIRST_PAGE, MOST_BYTES, PAGE, PAGE_BYTES, limit_for, next_limit

PATH = "/api/v1/secrets"


class Collection:
    """Objects of the given sizes, in pages as the API server makes them; it notes how large each page was."""

    def __init__(self, sizes: list[int]) -> None:
        self._items = [json.dumps({"metadata": {"name": str(n)}, "x": "y" * size}) for n, size in enumerate(sizes)]
        self.limits: list[int] = []
        self.bytes: list[int] = []

    async def __call__(self, request: web.Request) -> web.Response:
        start, limit = int(request.query.get("continue", "0")), int(request.query["limit"])
        items = self._items[start : start + limit]
        more = str(start + limit) if start + limit < len(self._items) else ""
        text = f'{{"metadata": {{"continue": "{more}"}}, "items": [{",".join(items)}]}}'
        self.limits.append(limit)
        self.bytes.append(len(text))
        return web.Response(text=text, content_type="application/json")


async def names(client: KubeClient, **options: Any) -> list[str]:
    pages = [page async for page in client.pages(PATH, **options)]
    return [item["metadata"]["name"] for page in pages for item in page["items"]]


async def test_small_objects_come_in_long_pages(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["GET", PATH] = found = Collection([100] * 1200)
    assert await names(client, first=FIRST_PAGE) == [str(number) for number in range(1200)]
    assert found.limits == [FIRST_PAGE, FIRST_PAGE * 4, PAGE, PAGE, PAGE]


async def test_large_objects_come_in_short_pages(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["GET", PATH] = found = Collection([1_000_000] * 20)
    assert await names(client, first=FIRST_PAGE) == [str(number) for number in range(20)]
    assert max(found.bytes[2:]) <= MOST_BYTES, "the first two were given up"


async def test_a_page_that_turns_out_too_large_is_given_up(client: KubeClient, api: FakeApiServer) -> None:
    """Small objects that are followed by large ones: the size of the page before says nothing."""
    api.answers["GET", PATH] = found = Collection([100] * 600 + [1_000_000] * 60)
    assert await names(client) == [str(number) for number in range(660)]
    assert found.limits[:5] == [500, 500, 125, 31, 124]


async def test_one_object_is_read_whatever_its_size(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["GET", PATH] = Collection([MOST_BYTES + 1] * 2)
    assert await names(client) == ["0", "1"]


@pytest.mark.parametrize("answer", [[], {"metadata": []}])
async def test_what_is_not_a_list_is_an_error(client: KubeClient, api: FakeApiServer, answer: Any) -> None:
    api.answers["GET", PATH] = (200, answer)
    with pytest.raises(KubeError, match="cannot be read"):
        await names(client)


@given(limit=st.integers(1, PAGE), size=st.integers(0, 10 * PAGE_BYTES))
def test_the_next_page_is_within_its_bounds(limit: int, size: int) -> None:
    following = next_limit(limit, size)
    assert 1 <= following <= min(PAGE, limit * 4)
    assert following == 1 or following * (size / limit) <= PAGE_BYTES


def test_pages_of_one_length_fit_the_largest_object() -> None:
    assert (limit_for(0), limit_for(2000), limit_for(1_500_000), limit_for(100_000_000)) == (PAGE, PAGE, 11, 1)
