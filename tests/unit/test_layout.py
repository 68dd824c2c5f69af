"""How the repository is laid out, so that nothing shadows the standard library and nothing is tied to one machine."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "operator" / "managedchart_operator"
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")
# Home folders, checkouts of CI systems, and index or proxy addresses with a host of their own. Each is split, so that this
# file does not name what it looks for. example.* and localhost are for documentation and tests.
MACHINE_PATHS = re.compile(r"(?<![\w.$}{~-])/(?:ho" r"me|Us" r"ers|ro" r"ot|wo" r"rk|wor" r"kspace)/[\w.-]+")
REGISTRY_OPTIONS = re.compile(
    r"(?:--(?:extra-)?ind"
    r"ex-url|--find-li"
    r"nks|--trusted-ho"
    r"st|GOPRO"
    r"XY\s*[=:]|regis"
    r"try\s*=)[ =\"']*https?://"
)


def tracked() -> list[str]:
    """The files that git knows."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [name for name in names.split("\0") if name]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """The contents of the tracked files that are text."""
    found = {}
    for name in tracked():
        path = ROOT / name
        if path.is_file():
            data = path.read_bytes()
            if b"\0" not in data:
                found[name] = data.decode(errors="replace")
    return found


def test_the_source_root_is_no_package() -> None:
    """operator/__init__.py would shadow a module of the standard library that half of Python imports."""
    assert (ROOT / "operator" / "managedchart_operator" / "__init__.py").is_file()
    assert not list((ROOT / "operator").glob("*.py"))


def test_the_standard_librarys_operator_is_found_from_the_root() -> None:
    """Also by a Python that puts the current folder first on its path."""
    program = "import operator; print(operator.__file__); print(operator.add(1, 2))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    file, three = done.stdout.split("\n")[:2]
    assert not Path(file).is_relative_to(ROOT / "operator")
    assert three == "3"


def test_each_layer_imports_only_what_stands_below_it() -> None:
    """And kubernetes is imported in kube/ only, kopf in app/ only."""
    done = subprocess.run([LINT_IMPORTS, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b0 broken", done.stdout)


def test_processes_are_started_in_two_places_only() -> None:
    package = ROOT / "operator" / "managedchart_operator"
    starts = re.compile(r"create_subprocess|\bsubprocess\.\w+\(|os\.(?:system|popen|spawn|exec|posix_spawn)")
    starters = {path.relative_to(package) for path in package.rglob("*.py") if starts.search(path.read_text())}
    outside = {str(path) for path in starters if path.parts[0] != "helm"}
    assert outside == {"python_child.py"}


def test_no_shell_is_started_by_the_operator() -> None:
    for path in (ROOT / "operator").rglob("*.py"):
        assert not re.search(r"shell=True|create_subprocess_shell|os\.system", path.read_text()), path


def test_locks_hold_hashes_and_no_addresses() -> None:
    """Whoever installs chooses from where; the hashes say what."""
    locks = [name for name in tracked() if name.endswith((".lock", "go.sum")) or "requirements" in Path(name).name]
    assert locks
    for name in locks:
        assert "://" not in (ROOT / name).read_text(), name


def test_no_file_names_a_folder_of_somebodys_machine(texts: dict[str, str]) -> None:
    found = {name: match.group() for name, text in texts.items() if (match := MACHINE_PATHS.search(text))}
    assert not found


def test_no_file_ties_the_build_to_one_index_or_proxy(texts: dict[str, str]) -> None:
    found = {name: match.group() for name, text in texts.items() if (match := REGISTRY_OPTIONS.search(text))}
    assert not found


def test_the_patterns_find_what_they_look_for() -> None:
    """A test that cannot fail would be none."""
    home, index = "/home/" + "somebody/x", "--index-url=" + "https://pypi.corp.example/simple"
    assert MACHINE_PATHS.search(f"cd {home}")
    assert not MACHINE_PATHS.search("see apps/home/page and $HOME/x and /charts/podinfo")
    assert REGISTRY_OPTIONS.search(f"pip install {index} x")
    assert not REGISTRY_OPTIONS.search("uv pip compile --no-emit-index-url")


MOST_LINES, MOST_METHODS, MOST_FIELDS = 350, 15, 10
# The models of the API, what mirrors an object of it, and the settings have as many fields as there are things to say.
MODELS = ("api", "app/settings.py", "diagnosis/pods.py", "reconcile/last_run.py")


def test_no_module_is_longer_than_a_person_reads() -> None:
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_no_class_does_everything() -> None:
    large = {}
    for path in PACKAGE.rglob("*.py"):
        name = str(path.relative_to(PACKAGE))
        for node in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(node, ast.ClassDef) or name.startswith(MODELS):
                continue
            methods = sum(isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) for part in node.body)
            fields = sum(isinstance(part, ast.AnnAssign) for part in node.body)
            if methods > MOST_METHODS or fields > MOST_FIELDS:
                large[f"{name} {node.name}"] = (methods, fields)
    assert large == {}


def _imports(text: str, name: str) -> bool:
    room, _, module = name.rpartition(".")
    return f"from {name} import" in text or re.search(rf"from {room} import .*\b{module}\b", text) is not None


def test_every_module_of_reconcile_is_imported_by_a_unit_test() -> None:
    texts = "\n".join(path.read_text() for path in (ROOT / "tests" / "unit").rglob("*.py"))
    rooms = (PACKAGE / "reconcile").rglob("*.py")
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in rooms}
    missing = {name for name in names if not name.endswith("__init__") and not _imports(texts, name)}
    assert missing == set()


def test_every_module_tells_what_it_is_for() -> None:
    for path in (ROOT / "operator").rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_bytes())), path
