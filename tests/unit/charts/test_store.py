"""The chart store: how it identifies and returns charts, and how often it asks a repository."""

import asyncio
import base64
import errno
import os
import shutil
import tarfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from conftest import CHARTS
from managedchart_operator.api.spec import ChartSource
from managedchart_operator.charts import cache, local
from managedchart_operator.charts import store as store_module
from managedchart_operator.charts.confinement import ChartRoots
from managedchart_operator.charts.store import Chart, ChartStore
from managedchart_operator.errors import ChartError, HelmError
from managedchart_operator.fair_slots import PAYER
from managedchart_operator.reasons import Reason


def package(folder: Path, target: Path) -> Path:
    with tarfile.open(target, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    return target


class Repository:
    """Replaces `helm pull`: serves one chart, counts, and can block or fail."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.pulls = 0
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.started = asyncio.Event()
        """Whether a pull has written something."""

    async def __call__(self, source: ChartSource, destination: Path, begin: Callable[[], Awaitable[None]]) -> None:
        await begin()
        self.pulls += 1
        (destination / "web-1.2.3.tgz.part").write_text("half")
        self.started.set()
        await self.open.wait()
        if self.error:
            raise self.error
        shutil.copy(self.archive, destination / "web-1.2.3.tgz")


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    shutil.copytree(CHARTS / "web", tmp_path / "charts" / "web")
    # Old enough that an unchanged file proves an unchanged content.
    long_ago = time.time() - 3600
    for path in (tmp_path / "charts").rglob("*"):
        os.utime(path, (long_ago, long_ago))
    return tmp_path / "charts" / "web"


@pytest.fixture
async def repository(chart: Path, tmp_path: Path) -> Repository:
    return Repository(package(chart, tmp_path / "web.tgz"))


@pytest.fixture
def make_store(chart: Path, repository: Repository, tmp_path: Path) -> Callable[..., ChartStore]:
    def make() -> ChartStore:
        return ChartStore(roots=ChartRoots([chart.parent]), cache_dir=tmp_path / "cache", pull=repository)

    return make


@pytest.fixture
def store(make_store: Callable[..., ChartStore]) -> ChartStore:
    return make_store()


EXACT = ChartSource(repository="https://charts.example", name="web", version="1.2.3")
CONSTRAINT = ChartSource(repository="https://charts.example", name="web", version="1.x")


def by_path(path: Path) -> ChartSource:
    return ChartSource(path=str(path))


def by_contents(archive: Path) -> ChartSource:
    return ChartSource(contents=base64.b64encode(archive.read_bytes()).decode())


async def refused(store: ChartStore, source: ChartSource) -> ChartError:
    with pytest.raises(ChartError) as identified:
        await store.fingerprint(source)
    with pytest.raises(ChartError) as fetched:
        await store.fetch(source)
    assert fetched.value.message == identified.value.message
    return fetched.value


# -- path


async def test_a_folder_is_copied_for_helm(store: ChartStore, chart: Path) -> None:
    """helm reads it later, perhaps while git-sync replaces the folder."""
    found = await store.fetch(by_path(chart))
    assert (found.name, found.version, found.app_version) == ("web", "1.2.3", "4.5")
    before = (found.path / "values.yaml").read_text()
    (chart / "values.yaml").write_text("replicas: 7\n")
    assert (found.path / "values.yaml").read_text() == before
    changed = await store.fetch(by_path(chart))
    assert changed.digest != found.digest
    assert (changed.path / "values.yaml").read_text() == "replicas: 7\n"


async def test_fingerprints_of_local_charts_are_their_digests(
    store: ChartStore, chart: Path, repository: Repository
) -> None:
    archive = package(chart, chart.parent / "web.tgz")
    for source in (by_path(chart), by_path(archive), by_contents(archive)):
        assert await store.fingerprint(source) == (await store.fetch(source)).digest
    assert await store.fingerprint(by_path(archive)) == await store.fingerprint(by_contents(archive))
    assert repository.pulls == 0


async def test_an_unchanged_folder_is_not_read_again(
    store: ChartStore, chart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5,000 resources may name one folder."""
    monkeypatch.setattr(local, "SETTLED_SECONDS", -1)
    first = await store.fingerprint(by_path(chart))

    def read_again(*_: object, **__: object) -> None:
        pytest.fail("the files were read again")

    monkeypatch.setattr(store_module, "read_chart", read_again)
    assert await store.fingerprint(by_path(chart)) == first


async def test_a_change_within_a_clock_tick_is_noticed(store: ChartStore, chart: Path) -> None:
    """Same size, same inode, perhaps the same time stamp: a file that has just changed is read again."""
    digests = set()
    for number in range(10):
        (chart / "values.yaml").write_text(f"replicas: {number}\n")
        digests.add(await store.fingerprint(by_path(chart)))
    assert len(digests) == 10


async def test_a_missing_path_may_appear_later(store: ChartStore, chart: Path) -> None:
    error = await refused(store, by_path(chart.parent / "no"))
    assert error.message == f"spec.chart.path: there is no chart at {chart.parent}/no"
    assert (error.reason, error.transient) == (Reason.CHART_NOT_FOUND, True)


async def test_a_path_without_a_valid_chart_is_refused(store: ChartStore, chart: Path) -> None:
    error = await refused(store, by_path(chart / "values.yaml"))
    assert error.message.endswith("values.yaml: it is not a packaged chart (a .tgz as helm package makes it)")
    error = await refused(store, by_path(chart / "templates"))
    assert error.message.endswith("templates: the folder contains no chart: Chart.yaml is missing")
    assert (error.reason, error.transient) == (Reason.CHART_INVALID, False)
    os.mkfifo(chart / "pipe")
    assert (await refused(store, by_path(chart / "pipe"))).reason is Reason.CHART_INVALID
    assert (await refused(store, by_path(Path("/etc")))).reason is Reason.PATH_NOT_ALLOWED


# -- contents


async def test_contents_may_be_wrapped_and_must_be_a_chart(store: ChartStore, repository: Repository) -> None:
    data = base64.encodebytes(repository.archive.read_bytes()).decode()
    assert (await store.fetch(ChartSource(contents=data))).path.name.endswith(".tgz")
    cut_off = ChartSource(contents=base64.b64encode(repository.archive.read_bytes()[:300]).decode())
    assert (await refused(store, cut_off)).message == "spec.chart.contents: the archive is damaged or cut off"
    not_base64 = ChartSource.model_construct(contents="H4sIA")
    assert (await refused(store, not_base64)).message == "spec.chart.contents is not valid base64"


# -- repository and registry


async def test_a_pulled_chart_is_written_once(store: ChartStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """By helm: a second copy would need twice the space."""

    def write_bytes(file: Path, _: bytes) -> int:
        raise AssertionError(f"{file} is written")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    assert (await store.fetch(EXACT)).path.exists()


async def test_an_exact_version_is_pulled_once(store: ChartStore, repository: Repository) -> None:
    first = await store.fetch(EXACT)
    assert first.path.name == f"sha256-{first.digest}.tgz"
    assert await store.fetch(EXACT) == first
    assert repository.pulls == 1


async def test_an_exact_version_is_pulled_again_on_request(store: ChartStore, repository: Repository) -> None:
    await store.fetch(EXACT)
    await store.fetch(EXACT, refresh=True)
    assert repository.pulls == 2


@pytest.mark.parametrize("version", ["1.x", "^1.2", "1.2", None])
async def test_a_constraint_is_resolved_again_after_a_while(
    store: ChartStore, repository: Repository, version: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ChartSource(oci="oci://registry.example/web", version=version)
    await store.fetch(source)
    await store.fetch(source)
    assert repository.pulls == 1
    now = time.monotonic()
    monkeypatch.setattr(store_module.time, "monotonic", lambda: now + 301)
    await store.fetch(source)
    assert repository.pulls == 2


async def test_many_requests_for_a_chart_cause_one_pull(store: ChartStore, repository: Repository) -> None:
    repository.open.clear()
    tasks = [asyncio.create_task(store.fetch(EXACT)) for _ in range(20)]
    await asyncio.sleep(0.05)
    tasks[0].cancel()
    repository.open.set()
    found = await asyncio.gather(*tasks[1:])
    assert repository.pulls == 1
    assert len(set(found)) == 1


async def test_a_cancelled_pull_leaves_nothing(store: ChartStore, repository: Repository, tmp_path: Path) -> None:
    repository.open.clear()
    task = asyncio.create_task(store.fetch(EXACT))
    await repository.started.wait()
    assert list((tmp_path / "cache" / "charts").iterdir()) != []
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list((tmp_path / "cache" / "charts").iterdir()) == []


async def test_a_failed_pull_is_not_remembered(store: ChartStore, repository: Repository, tmp_path: Path) -> None:
    repository.error = HelmError("no", reason=Reason.CHART_SOURCE_UNAVAILABLE, transient=True)
    with pytest.raises(HelmError):
        await store.fetch(EXACT)
    assert list((tmp_path / "cache" / "charts").iterdir()) == []
    repository.error = None
    assert (await store.fetch(EXACT)).name == "web"


async def test_a_pulled_file_must_be_a_chart(store: ChartStore, repository: Repository) -> None:
    repository.archive.write_bytes(b"<html>please log in</html>")
    with pytest.raises(ChartError, match=r"chart web of https://charts.example 1.2.3: it is not a packaged chart"):
        await store.fetch(EXACT)


async def test_a_chart_deleted_from_the_cache_is_pulled_again(store: ChartStore, repository: Repository) -> None:
    found = await store.fetch(EXACT)
    found.path.unlink()
    assert (await store.fetch(EXACT)).path.is_file()
    assert repository.pulls == 2


async def test_the_fingerprint_of_a_reference_needs_no_network(store: ChartStore, repository: Repository) -> None:
    sources = [
        EXACT,
        CONSTRAINT,
        EXACT.model_copy(update={"name": "x"}),
        ChartSource(oci="oci://a/b"),
        ChartSource(oci="oci://a/c"),
    ]
    assert len({await store.fingerprint(source) for source in sources}) == len(sources)
    assert await store.fingerprint(EXACT) == await store.fingerprint(EXACT.model_copy())
    assert repository.pulls == 0


# -- the cache


async def entries(store: ChartStore, chart: Path, count: int) -> list[Path]:
    """Fetch charts one after another; none is in use afterwards."""
    found = []
    for number in range(count):
        (chart / "values.yaml").write_text(f"replicas: {number}\n")
        found.append((await store.fetch(by_path(chart))).path)
        os.utime(found[-1], (number, number))
    return found


async def test_the_cache_keeps_the_most_recently_used(
    store: ChartStore, chart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S13: also those that were used a moment ago."""
    monkeypatch.setattr(cache, "MAX_CHARTS", 3)
    first, second, third = await entries(store, chart, 3)
    os.utime(first)  # used again
    (chart / "values.yaml").write_text("replicas: 3\n")
    await store.fetch(by_path(chart))
    assert [path.exists() for path in (first, second, third)] == [True, False, True]


async def test_the_cache_is_bounded_in_bytes(store: ChartStore, chart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S13: charts of 15 MB, fetched one after another, filled the disk within minutes."""
    first, *_ = await entries(store, chart, 1)

    monkeypatch.setattr(cache, "MAX_BYTES", 3 * cache._size(first))
    found = await entries(store, chart, 9)
    assert [path.exists() for path in found] == [*[False] * 6, *[True] * 3]


async def test_a_chart_in_use_is_not_evicted(store: ChartStore, chart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For as long as a run refers to it: its helm process may wait for a slot."""
    monkeypatch.setattr(cache, "MAX_CHARTS", 1)
    first = await store.fetch(by_path(chart))
    second, _ = await entries(store, chart, 2)
    assert first.path.exists()
    assert not second.exists()
    path = first.path
    del first
    await entries(store, chart, 3)
    assert not path.exists()


async def test_charts_in_use_may_not_fill_the_disk(
    store: ChartStore, chart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_use = await store.fetch(by_path(chart))
    monkeypatch.setattr(cache, "MAX_BYTES", 1)
    (chart / "values.yaml").write_text("replicas: 3\n")
    with pytest.raises(ChartError, match="The operator's chart cache is full") as caught:
        await store.fetch(by_path(chart))
    assert caught.value.transient
    assert list(in_use.path.parent.iterdir()) == [in_use.path]


async def test_files_of_a_crashed_process_are_not_used(
    make_store: Callable[..., ChartStore], chart: Path, tmp_path: Path
) -> None:
    half = (await make_store().fetch(by_path(chart))).path
    (half / "values.yaml").unlink()
    (tmp_path / "cache" / "charts" / "tmp-x").mkdir()
    (tmp_path / "cache" / "charts" / "not-ours").write_text("x")
    found = await make_store().fetch(by_path(chart))
    assert found.path == half
    assert (half / "values.yaml").is_file()
    assert {path.name for path in half.parent.iterdir()} == {half.name, "not-ours"}


async def test_an_unwritable_cache_is_a_chart_error(
    make_store: Callable[..., ChartStore], chart: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file, no folder")
    with pytest.raises(ChartError, match="Cannot write the operator's chart cache: Not a directory") as caught:
        await make_store().fetch(by_path(chart))
    assert caught.value.transient


async def test_a_full_disk_is_a_chart_error(store: ChartStore, chart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ChartError, match="Cannot write the operator's chart cache: No space left") as caught:
        await store.fetch(by_contents(package(chart, chart.parent / "web.tgz")))
    assert caught.value.transient
    (chart.parent.parent / "copy").mkdir()
    with pytest.raises(ChartError, match="Cannot write the operator's chart cache: No space left"):
        local.read_local(str(chart), ChartRoots([chart.parent]), chart.parent.parent / "copy")


async def test_a_path_is_checked_again_for_another_namespace(
    chart: Path, repository: Repository, tmp_path: Path
) -> None:
    """S23: neither what is remembered of a path nor a fetch that is under way opens it for others."""
    own = chart.parent / "team-a" / "web"
    shutil.copytree(chart, own)
    roots = ChartRoots([chart.parent / "{namespace}"])
    store = ChartStore(roots=roots, cache_dir=tmp_path / "cache", pull=repository)
    source = ChartSource(path=str(own))
    for _ in range(2):
        answers = await asyncio.gather(
            store.of("team-a").fetch(source),
            store.of("team-a").fingerprint(source),
            store.of("team-b").fetch(source),
            store.of("team-b").fingerprint(source),
            return_exceptions=True,
        )
        assert isinstance(answers[0], store_module.Chart)
        assert answers[1] == answers[0].digest
        for refused in answers[2:]:
            assert isinstance(refused, ChartError)
            assert refused.reason is Reason.PATH_NOT_ALLOWED


async def test_one_namespace_does_not_fill_the_cache(
    chart: Path, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S13: its charts, which wait for slots or are never ready, kept other namespaces from deploying anything new."""
    store = ChartStore(roots=ChartRoots([chart.parent]), cache_dir=tmp_path / "shared", pull=repository, share=0.5)
    size = cache._size((await store.fetch(by_path(chart))).path)
    monkeypatch.setattr(cache, "MAX_BYTES", 4 * size)

    async def fetch(namespace: str, replicas: int) -> Chart:
        PAYER.set(namespace)
        (chart / "values.yaml").write_text(f"replicas: {replicas:03}\n")
        return await asyncio.create_task(store.fetch(by_path(chart)))

    held = [await fetch("team-a", number) for number in range(2)]
    with pytest.raises(ChartError, match="is full: those in use by namespace team-a have 0 MiB, its share") as caught:
        await fetch("team-a", 2)
    assert caught.value.transient
    assert (await fetch("team-a", 1)).path == held[1].path, "what it uses already"
    of_others = [await fetch("team-b", number) for number in (1, 2)]
    assert of_others[0].path == held[1].path
    held += [await fetch("team-a", 2)]  # that of team-b
    assert held[2].path == of_others[1].path
