"""Which plug-ins are found: in a mounted folder, and in installed packages."""

import os
from pathlib import Path

import pytest

from managedchart_operator.errors import SpecError
from managedchart_operator.lifecycle.plugins import catalog
from managedchart_operator.lifecycle.plugins.catalog import Plugins
from managedchart_operator.lifecycle.plugins.plugin_lifecycle import PluginLifecycle
from managedchart_operator.lifecycle.registry import BUILT_IN
from managedchart_operator.reasons import Reason
from unit.lifecycle.plugins.plugin_folder import discovered, write

EMPTY = "class {}(Lifecycle): pass"
PACKAGE = """
from managedchart_operator.lifecycle.base import Lifecycle

class Loki(Lifecycle):
    pass

class NotOne:
    pass
"""


def reason_of(plugins: Plugins, name: str) -> str:
    """Return why a lifecycle is not there."""
    with pytest.raises(SpecError) as raised:
        plugins.find(name)
    assert raised.value.reason is Reason.LIFECYCLE_UNKNOWN
    assert not raised.value.transient
    return raised.value.message.removeprefix("spec.lifecycle.name: ")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that provides a valid lifecycle and broken ones."""
    folder = tmp_path / "packages"
    info = folder / "loki_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "loki_plugin.py").write_text(PACKAGE)
    (folder / "broken_plugin.py").write_text("raise RuntimeError('no licence')")
    (folder / "exiting_plugin.py").write_text("import sys\nsys.exit('no licence')")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loki-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[managedchart.lifecycles]\n"
        "loki = loki_plugin:Loki\n"
        "not-one = loki_plugin:NotOne\n"
        "no-class = loki_plugin:__name__\n"
        "gone = loki_plugin:Gone\n"
        "broken = broken_plugin:Any\n"
        "exiting = exiting_plugin:Any\n"
        "default = loki_plugin:Loki\n"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))


async def test_modules_of_a_mounted_configmap_are_found(tmp_path: Path) -> None:
    """The kubelet makes links to files below `..data`; both folders, and what is no module, are skipped."""
    data = tmp_path / "..2026_11_26"
    write(
        data,
        core_dns=EMPTY.format("CoreDns"),
        two="class A(Lifecycle):\n    name = 'a'\nclass B(A):\n    name = 'b'\nclass _Base(Lifecycle): pass\n",
        json="import json as own\nassert own.dumps(1) == '1'\n" + EMPTY.format("Json"),
        uses="from _shared import Shared\nclass Uses(Shared): name = 'uses'\n",
        _shared=EMPTY.format("Shared"),
    )
    (tmp_path / "..data").symlink_to(data.name)
    for file in data.iterdir():
        (tmp_path / file.name).symlink_to(Path("..data", file.name))
    (tmp_path / "notes.txt").write_text("no module")
    (tmp_path / ".hidden.py").write_text("raise RuntimeError")
    (tmp_path / "folder.py").mkdir()
    async with discovered(tmp_path) as plugins:
        assert plugins.broken == {}
        assert plugins.found.keys() == {"core-dns", "a", "b", "json", "uses"}
        found = plugins.find("core-dns")
        assert isinstance(found, PluginLifecycle)
        assert found is not plugins.find("core-dns")
        assert not list(data.glob("__pycache__")), "the folder is mounted read-only"


async def test_a_broken_module_is_reported_and_the_others_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(catalog, "IMPORT_SECONDS", 4.0)
    write(
        tmp_path,
        good="class Good(Lifecycle):\n    Deploy = 'not a method'\n",
        syntax="class\n",
        missing="import no_such_library\n",
        empty="x = 1\n",
        bad_name="class P(Lifecycle):\n    name = 3\n",
        spelt="class P(Lifecycle):\n    async def preExec(self, context, payload): return payload\n",
        hangs="while True: pass\n",
        exits="os._exit(3)\n",
        large="x = bytearray(1 << 30)\n",
    )
    async with discovered(tmp_path) as plugins:
        assert plugins.found.keys() == {"good"}
        cannot = 'the lifecycle "{0}" (plug-in {1}.py) cannot be loaded: '
        for name, why in {
            "syntax": "SyntaxError: invalid syntax (syntax.py, line 4)",
            "missing": "ModuleNotFoundError: No module named 'no_such_library'",
            "empty": "it defines no subclass of Lifecycle",
            "bad-name": "the name of class P is not a text of 1 to 253 characters",
            "spelt": "class P has a method preExec: the phase is called pre_exec",
            "hangs": "its import did not end within 4 s",
            "exits": "its import ended the process with exit code 3",
            "large": "its import needs more than 256 MiB of memory",
        }.items():
            expected = cannot.format(name, name.replace("-", "_")) + why
            assert reason_of(plugins, name) == expected
            assert f"broken plug-in: {expected}" in caplog.text
        assert "no_such_library" in caplog.text
        unknown = reason_of(plugins, "godo")
    assert unknown == (
        f'unknown lifecycle "godo"; this operator has: {", ".join(BUILT_IN)}, good; '
        "broken: bad-name, empty, exits, hangs, large, missing, spelt, syntax"
    )


@pytest.mark.usefixtures("installed")
async def test_installed_packages_provide_lifecycles(tmp_path: Path) -> None:
    """A plug-in cannot take the place of a built-in lifecycle."""
    async with discovered(None) as plugins:
        assert plugins.found.keys() == {"loki"}
        assert plugins.found["loki"].origin == "package loki-plugin 1.0"
        for name, why in {
            "broken": "RuntimeError: no licence",
            "exiting": "SystemExit: no licence",
            "gone": "AttributeError: module 'loki_plugin' has no attribute 'Gone'",
            "not-one": 'the entry point "not-one" is not a subclass of Lifecycle',
            "no-class": 'the entry point "no-class" is not a subclass of Lifecycle',
        }.items():
            assert (
                reason_of(plugins, name) == f'the lifecycle "{name}" (package loki-plugin 1.0) cannot be loaded: {why}'
            )


@pytest.mark.usefixtures("installed")
async def test_two_with_the_same_name_are_both_refused(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "plugins",
        loki=EMPTY.format("Loki"),
        a="class A(Lifecycle): name = 'one'",
        b="class B(Lifecycle): name = 'one'",
        c="class C(Lifecycle): name = 'one'",
        twice="class A(Lifecycle): pass\nclass B(Lifecycle): pass",
    )
    async with discovered(folder) as plugins:
        assert plugins.found == {}
        assert reason_of(plugins, "loki") == (
            'two plug-ins have the lifecycle "loki": plug-in loki.py and package loki-plugin 1.0'
        )
        assert reason_of(plugins, "one") == (
            'two plug-ins have the lifecycle "one": plug-in a.py and plug-in b.py and plug-in c.py'
        )
        assert (
            reason_of(plugins, "twice")
            == 'two plug-ins have the lifecycle "twice": the classes A and B of plug-in twice.py'
        )


async def test_without_plugins_no_process_is_started() -> None:
    async with discovered(None) as plugins:
        assert plugins.processes._server is None
        assert reason_of(plugins, "prometheus") == (
            'unknown lifecycle "prometheus"; this operator has: default, prometheus-operator, aws-vpc-cni'
        )


async def test_a_folder_that_is_missing_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with discovered(tmp_path / "none") as plugins:
        assert plugins.found == {}
    assert f"the plug-in folder {tmp_path}/none cannot be read: No such file or directory" in caplog.text


async def test_the_operator_imports_no_plugin(tmp_path: Path) -> None:
    folder = write(tmp_path, p=f"import os\nassert os.getpid() != {os.getpid()}\n" + EMPTY.format("P"))
    async with discovered(folder) as plugins:
        assert plugins.found.keys() == {"p"}


async def test_the_digest_of_a_plugin_is_that_of_its_code(tmp_path: Path) -> None:
    """With what modules share, and without other plug-ins: what one has made fail is retried when that one changes."""
    text = EMPTY.format("A")

    async def digest(**modules: str) -> str:
        write(tmp_path, **modules)
        async with discovered(tmp_path) as plugins:
            return plugins.found["a"].version.digest

    first = await digest(a=text, _shared="x = 1", other=EMPTY.format("Other"))

    assert await digest(other=EMPTY.format("Another")) == first
    shared = await digest(_shared="x = 2")
    assert shared != first
    assert await digest(a=text + "\n", _shared="x = 2") not in (first, shared)
