"""The command lines of helm.

Purpose: one function a helm command, from typed options to an argument list. Boundary: pure. Invariants: no value of a chart
stands among these arguments (those for the values are made by `values`, and have no text either); the defaults that were
measured to be traps are always overridden. Source: `helm help` of 4.3.1; design facts in docs/architecture.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from managedchart_operator.api.duration import seconds

# Without the second flag helm takes a release whose Job has failed for a good one (measured).
_WAIT = ("--wait=watcher", "--wait-for-jobs")
# The watcher waits for every object, and takes a Job that is deleted meanwhile for one that never became ready, with or without
# the second flag. helm 3's way of waiting knows Jobs only with it (measured with 4.3.1).
_WAIT_WITHOUT_JOBS = ("--wait=legacy",)
# helm refuses --force-replace together with server-side apply, and with --force-conflicts.
_REPLACE = ("--force-replace", "--server-side=false")
# helm's own default; each revision is a Secret, and a rollback needs one good one.
HISTORY_MAX = 10
# `--timeout` bounds each wait of helm, not the command: each hook, then the resources. A chart with more hooks than this
# that all use up their time is stopped by the deadline and reported as a timeout.
HOOKS_ALLOWED_FOR = 10
# Loading a chart, rendering it and applying a few hundred objects at the default client-side limit takes below this.
APPLY_ALLOWANCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class ReleaseOptions:
    """What an upgrade and a rollback of a release have in common. `timeout` is a Go duration."""

    release: str
    namespace: str
    timeout: str
    wait: bool = True
    wait_for_jobs: bool = True
    """Whether helm's wait is for Jobs too; not where some are deleted once they have finished, which it takes for failed."""
    force_replace: bool = False

    @property
    def deadline(self) -> float:
        """Seconds after which a helm process that still runs counts as hung."""
        return deadline(self.timeout)


def deadline(timeout: str) -> float:
    """Return the seconds after which a helm command with this `--timeout`, a Go duration, counts as hung."""
    return APPLY_ALLOWANCE_SECONDS + seconds(timeout) * (1 + HOOKS_ALLOWED_FOR)


@dataclass(frozen=True, slots=True)
class UpgradeOptions(ReleaseOptions):
    """What `helm upgrade --install` needs beside the values."""

    create_namespace: bool = True
    dry_run: bool = False
    take_ownership: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


def upgrade(options: UpgradeOptions, *, chart: Path) -> list[str]:
    """Return the arguments that install or upgrade; those for the values go behind them."""
    arguments = [
        "upgrade",
        options.release,
        str(chart),
        "--install",
        f"--namespace={options.namespace}",
        # Without it helm silently takes over the values of the last release when ours are empty.
        "--reset-values",
        f"--timeout={options.timeout}",
        f"--history-max={HISTORY_MAX}",
        # The progress on stderr tells when everything is applied and only the wait is left.
        "--debug",
        "--hide-notes",
        *_apply_method(options, dry_run=options.dry_run),
    ]
    if options.labels:
        arguments.append("--labels=" + ",".join(f"{key}={value}" for key, value in options.labels.items()))
    if options.create_namespace:
        arguments.append("--create-namespace")
    if options.take_ownership:
        arguments.append("--take-ownership")
    if options.dry_run:
        # Secrets are part of the output, since they too are to be tried and adopted; it goes nowhere but to us.
        arguments += ["--dry-run=server", "--output=json"]
    elif options.wait:
        arguments += _WAIT if options.wait_for_jobs else _WAIT_WITHOUT_JOBS
    return arguments


def rollback(options: ReleaseOptions, *, revision: int, description: str, by_server: bool) -> list[str]:
    """Return the arguments that bring a release back to an earlier revision.

    `by_server` says that this revision was applied by server-side apply: helm refuses --force-conflicts for any other.
    """
    method = ["--force-conflicts"] if by_server else []
    arguments = [
        "rollback",
        options.release,
        str(revision),
        f"--namespace={options.namespace}",
        f"--timeout={options.timeout}",
        f"--history-max={HISTORY_MAX}",
        f"--description={description}",
        "--debug",
        # The good revision was applied in its own way; helm remembers which ("auto").
        *(_REPLACE if options.force_replace else method),
    ]
    if options.wait:
        arguments += _WAIT if options.wait_for_jobs else _WAIT_WITHOUT_JOBS
    return arguments


def uninstall(*, release: str, namespace: str, timeout: str, foreground: bool, wait: bool) -> list[str]:
    """Return the arguments that remove a release with all its objects.

    Only in the `foreground` can be seen that the dependents (pods) are gone too. With `wait`, helm waits until all is gone and
    forgets the release then; without, it keeps the revisions, the newest as uninstalled, for whoever waits instead.
    """
    return [
        "uninstall",
        release,
        f"--namespace={namespace}",
        f"--timeout={timeout}",
        "--ignore-not-found",
        f"--cascade={'foreground' if foreground else 'background'}",
        *(["--wait=watcher"] if wait else ["--wait=hookOnly", "--keep-history"]),
        "--debug",
    ]


def pull(
    reference: str, *, destination: Path, repository: str | None, version: str | None, plain_http: bool
) -> list[str]:
    """Return the arguments that fetch a packaged chart into a folder."""
    arguments = ["pull", reference, f"--destination={destination}"]
    if repository:
        arguments.append(f"--repo={repository}")
    if version:
        arguments.append(f"--version={version}")
    if plain_http:
        arguments.append("--plain-http")
    return arguments


def show_crds(chart: Path) -> list[str]:
    """Return the arguments that print what is in the crds/ folders of a chart and its subcharts."""
    return ["show", "crds", str(chart)]


def _apply_method(options: UpgradeOptions, *, dry_run: bool) -> list[str]:
    if options.force_replace:
        return list(_REPLACE)
    # Without the second flag no upgrade succeeds any more once another manager has changed a field that the chart sets.
    method = ["--server-side=true", "--force-conflicts"]
    if not dry_run:
        # Under server-side apply the API server itself refuses wrong fields (fieldValidation=Strict), so that helm's own
        # check, which costs more than half of its CPU time, is needed for a dry run only.
        method.append("--disable-openapi-validation")
    return method
