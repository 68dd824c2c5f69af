"""Imports a plug-in, in a process of its own, and finds the lifecycles in it."""

import importlib.util
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from managedchart_operator.lifecycle.base import Lifecycle

# Beside the phases, what the default phases call.
OVERRIDDEN = (
    "check_prerequisites", "pre_exec", "exec", "deploy", "destroy", "uninstall_before_breaking_version", "pre_delete",
    "post_delete", "on_deploy_failure", "post_exec", "validate",
)  # fmt: skip
MAX_NAME = 253
_PREFIX = "mounted_plugin_"


class NotAPluginError(Exception):
    """What was imported has no lifecycle; the message says why."""


def lifecycles_in(source: Mapping[str, str]) -> dict[str, list[type[Lifecycle]]]:
    """Import a source and return its lifecycles by name. Raises NotAPluginError, and whatever the import raises."""
    if "entry_point" in source:
        name = source["entry_point"]
        found = EntryPoint(name, source["value"], "").load()
        if not (isinstance(found, type) and issubclass(found, Lifecycle)):
            raise NotAPluginError(f'the entry point "{name}" is not a subclass of Lifecycle')
        _check_methods(found)
        return {name: [found]}
    path = Path(source["module"])
    module = _import(path)
    classes = [
        each
        for name, each in vars(module).items()
        if isinstance(each, type)
        and issubclass(each, Lifecycle)
        and each.__module__ == module.__name__
        and not name.startswith("_")
    ]
    if not classes:
        raise NotAPluginError("it defines no subclass of Lifecycle")
    for each in classes:
        _check_methods(each)
    named: dict[str, list[type[Lifecycle]]] = {}
    for each in classes:
        named.setdefault(_name_of(each, path), []).append(each)
    return named


def described(source: Mapping[str, str]) -> dict[str, Any]:
    """Import a source and return what the operator must know of its lifecycles; raises as `lifecycles_in`."""
    return {
        "lifecycles": [
            {"name": name, "class": each.__qualname__, "overrides": sorted(overrides(each))}
            for name, classes in lifecycles_in(source).items()
            for each in dict.fromkeys(classes)
        ]
    }


def overrides(kind: type[Lifecycle]) -> set[str]:
    """Return which methods of the default lifecycle a class overrides."""
    return {name for name in OVERRIDDEN if getattr(kind, name) is not getattr(Lifecycle, name)}


def default_name(module: Path) -> str:
    """Return the name of a lifecycle whose class has no attribute `name`."""
    return module.stem.replace("_", "-")


def _check_methods(kind: type[Lifecycle]) -> None:
    """Raise NotAPluginError for a phase that is spelt like preExec: it would never run."""
    spelt = {each.replace("_", ""): each for each in OVERRIDDEN}
    for name in dir(kind):
        phase = spelt.get(name.replace("_", "").lower(), name)
        if phase != name and not name.startswith("_") and callable(getattr(kind, name, None)):
            raise NotAPluginError(f"class {kind.__qualname__} has a method {name}: the phase is called {phase}")


def _name_of(kind: type[Lifecycle], path: Path) -> str:
    name = getattr(kind, "name", None)
    if name is None:
        return default_name(path)
    if not (isinstance(name, str) and 0 < len(name) <= MAX_NAME):
        raise NotAPluginError(f"the name of class {kind.__qualname__} is not a text of 1 to {MAX_NAME} characters")
    return name


def _import(path: Path) -> ModuleType:
    # A module whose file is called json.py must not take the place of Python's own.
    name = _PREFIX + path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise NotAPluginError("it is not a Python module")
    # Behind everything else, so that modules of the folder can share helpers, and none can hide a library.
    sys.path.append(str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
