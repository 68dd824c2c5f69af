"""Everything that decides what runs, read and merged, and the digest over it.

Purpose: the desired state in a form that can be compared. Boundary: reads chart identity and values files through
`helm.confinement` and `helm.charts`; no network, no helm process. Invariants: equal digests mean that a new run would do
the same; how long is waited, what happens on failure and how it is retried are not part of it.
"""

import asyncio
import hashlib
import json
from dataclasses import dataclass
from functools import partial
from typing import Any

from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.charts.confinement import ChartRoots
from managedchart_operator.charts.store import ChartStore
from managedchart_operator.helm.values import Values, read_values

# 160 bits: no accident and no author of a chart gets two inputs of one digest, and it fits into a label (63 characters).
DIGEST_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run works with."""

    values: Values
    digest: str


@dataclass(frozen=True, slots=True)
class InputReader:
    """Reads the inputs of a spec."""

    charts: ChartStore
    roots: ChartRoots

    async def read(self, spec: ManagedChartSpec, *, chart_name: str) -> Inputs:
        """Return the values and the digest. `chart_name` is for messages. Raises ChartError, ValuesError."""
        files = []
        for index, path in enumerate(spec.values_files):
            field = f"spec.valuesFiles[{index}]"
            files.append(
                (path, await asyncio.to_thread(self.roots.read_values_file, path, chart=chart_name, field=field))
            )
        values = await asyncio.to_thread(
            partial(
                read_values,
                files=files,
                yaml_files=spec.yaml_files_content,
                values=spec.values,
                set_values=spec.set,
            )
        )
        fingerprint = await self.charts.fingerprint(spec.chart)
        return Inputs(values, digest_of(spec, chart=fingerprint, values=values.merged()))


def digest_of(spec: ManagedChartSpec, *, chart: str, values: dict[str, Any]) -> str:
    """Return the digest over what decides the outcome: chart, values, and the options that change what is applied."""
    document = {
        "chart": chart,
        "values": values,
        "action": spec.action,
        "dryRun": spec.dry_run,
        "wait": spec.wait,
        "forceUpgrade": spec.force_upgrade,
        "breaking": spec.last_breaking_version_requiring_restart,
        "lifecycle": spec.lifecycle.name,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def digest_without_inputs(spec: ManagedChartSpec) -> str:
    """Return a stand-in for a spec whose inputs cannot be read, or are not needed (Destroy, Skip)."""
    # Whether a rollback is followed by a retry changes nothing here, and the digests of earlier operators do not know of it.
    text = spec.model_dump_json(by_alias=True, exclude={"retry": {"after_rollback"}})
    return hashlib.sha256(f"unread {text}".encode()).hexdigest()[:DIGEST_LENGTH]
