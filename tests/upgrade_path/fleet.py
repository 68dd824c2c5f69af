"""The ManagedCharts that are there before the upgrade: of every kind of end that an operator can leave one in.

Boundary: specs only. Fields are those that old operators know too.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.chart_files import contents, package_chart
from harness.fixtures import CHARTS, REPOSITORY

HOMES = ("upgrade-a", "upgrade-b")
"""The namespaces of the ManagedCharts."""
TARGETS = ("upgrade-target", "upgrade-made")
"""Those of some releases; the second one is created by Helm."""
WEB = {"path": str(CHARTS / "web")}
RAW = {"path": str(CHARTS / "raw")}
HOOKS = {"path": str(CHARTS / "hooks")}
PRINT_VALUES = {"path": str(CHARTS / "print-values")}
BROKEN = {"path": str(CHARTS / "broken-template")}
BENCH = {"path": str(REPOSITORY / "bench" / "chart")}
HELLO = {"path": str(REPOSITORY / "examples" / "charts" / "hello")}
ROOTS = [CHARTS, REPOSITORY / "bench" / "chart", REPOSITORY / "examples" / "charts"]
UPGRADED_AGAIN = ("upgraded", "clamped-upgraded")
"""Those whose values are changed once more by the new operator: a usual one, and one with a duration beyond a bound."""
_BAD_IMAGE = {"podAnnotations": {"devcluster.managedchart.dev/fail": "image"}}
_ONCE = {"limit": 0}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A ManagedChart, and what becomes of it while the old operator works."""

    name: str
    spec: dict[str, Any]
    beyond: dict[str, Any] = field(default_factory=dict)
    """Fields of the spec with a value beyond a bound of the present CRD; an old CRD may have the same bound."""
    then: dict[str, Any] = field(default_factory=dict)
    """A change of the spec, once the first one is carried out."""
    given_up: bool = False
    """Whether the end is a failure that is not retried."""
    namespace: str = HOMES[0]

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.name


def fleet(*, repository: str, values_file: Path) -> list[Wanted]:
    """Return all of them; `repository` has the chart `web`, `values_file` is below a chart root."""
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "raw"}, "data": {"a": "b"}}
    written = {"filename": "values.yaml", "yamlContent": "port: 8080\nmessage: written\n"}
    second = HOMES[1]
    return [
        Wanted("path", {"chart": WEB}),
        Wanted("raw", {"chart": RAW, "values": {"objects": [config_map]}}),
        Wanted("hooks", {"chart": HOOKS}),
        Wanted("print-values", {"chart": PRINT_VALUES, "values": {"a": {"b": [1, None, 1.5]}, "large": 10**15}}),
        Wanted("hello", {"chart": HELLO, "values": {"migration": {"enabled": True}}}),
        Wanted("bench", {"chart": BENCH}, namespace=second),
        Wanted("contents", {"chart": contents(package_chart())}),
        Wanted("repository", {"chart": {"repository": repository, "name": "web", "version": "1.x"}}),
        Wanted("path", {"chart": WEB, "wait": False, "atomic": False}, namespace=second),
        # Values
        Wanted("values-file", {"chart": WEB, "valuesFiles": [str(values_file)]}),
        Wanted("values-written", {"chart": WEB, "yamlFilesContent": [written]}),
        Wanted("values-set", {"chart": WEB, "set": [{"key": "port", "value": "8081"}]}, namespace=second),
        Wanted(
            "values-all",
            {
                "chart": WEB,
                "valuesFiles": [str(values_file)],
                "yamlFilesContent": [written],
                "values": {"replicas": 2},
                "set": [{"key": "podAnnotations.a", "value": "b"}],
            },
        ),
        # Releases in other namespaces, and with other names
        Wanted("target", {"chart": WEB, "targetNamespace": TARGETS[0]}),
        Wanted("target", {"chart": WEB, "targetNamespace": TARGETS[0], "releaseName": "renamed"}, namespace=second),
        Wanted("target-made", {"chart": HOOKS, "targetNamespace": TARGETS[1], "createNamespace": True}),
        # Durations beyond the bounds of today
        Wanted("timeout-48h", {"chart": WEB}, beyond={"timeout": "48h"}),
        Wanted("timeout-999h", {"chart": WEB}, beyond={"timeout": "999h"}, namespace=second),
        Wanted("backoff-100ms", {"chart": HOOKS}, beyond={"retry": {"backoff": "100ms"}}),
        Wanted("backoff-1ms", {"chart": WEB}, beyond={"retry": {"backoff": "1ms", "maxBackoff": "2ms"}}),
        Wanted("clamped-upgraded", {"chart": WEB}, beyond={"timeout": "48h"}, then={"values": {"message": "second"}}),
        # Second revisions
        Wanted("upgraded", {"chart": WEB}, then={"values": {"message": "second"}}),
        Wanted("upgraded-hooks", {"chart": HOOKS}, then={"values": {"message": "second"}}, namespace=second),
        Wanted("upgraded-no-change", {"chart": WEB}, then={"timeout": "200s"}),
        # Failures that are given up
        Wanted("failed-install", {"chart": WEB, "values": _BAD_IMAGE, "retry": _ONCE}, given_up=True),
        Wanted("failed-upgrade", {"chart": WEB, "retry": _ONCE}, then={"values": _BAD_IMAGE}, given_up=True),
        Wanted(
            "failed-kept",
            {"chart": WEB, "retry": _ONCE, "atomic": False},
            then={"values": _BAD_IMAGE},
            given_up=True,
            namespace=second,
        ),
        Wanted("failed-template", {"chart": BROKEN, "retry": _ONCE}, given_up=True),
        # Other actions
        Wanted("destroyed", {"chart": WEB}, then={"action": "Destroy"}),
        Wanted("never-there", {"chart": WEB, "action": "Destroy"}),
        Wanted("skipped", {"chart": WEB}, then={"action": "Skip", "values": {"message": "not deployed"}}),
        Wanted("dry-run", {"chart": WEB, "dryRun": True}),
        Wanted("dry-run-upgrade", {"chart": WEB}, then={"dryRun": True, "values": {"message": "tried"}}),
    ]
