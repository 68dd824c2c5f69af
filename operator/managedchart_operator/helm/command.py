"""Builds helm's command lines: one function a command, from typed options to a list of arguments.

Pure. The arguments for values come from `values`, so no value of a chart is among those here. Defaults of helm that were
measured to be harmful are always overridden. Source: `helm help` of 4.3.1; design facts in docs/architecture.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from managedchart_operator.api.duration import seconds
from managedchart_operator.api.spec import ChartSource
from managedchart_operator.helm import post_renderer
from managedchart_operator.helm.left_fields import LeftFields
from managedchart_operator.helm.memory_files import Argument, FileArgument

# Without the second flag helm counts a release as deployed although its Job has failed (measured).
_WAIT = ("--wait=watcher", "--wait-for-jobs")
# The watcher waits for every object, and treats a Job that is deleted meanwhile as one that never became ready, with or without
# the second flag. helm 3's wait ignores Jobs unless that flag is set (measured with 4.3.1).
_WAIT_WITHOUT_JOBS = ("--wait=legacy",)
# helm refuses --force-replace together with server-side apply, and with --force-conflicts.
_REPLACE = ("--force-replace", "--server-side=false")
# helm's own default; each revision is a Secret, and a rollback needs a good one.
HISTORY_MAX = 10
# `--timeout` bounds each wait of helm, not the command: each hook, then the resources. If a chart has more hooks than this and
# all use up their time, the deadline stops helm, and that is reported as a timeout.
HOOKS_ALLOWED_FOR = 10
# Loading a chart, rendering it and applying a few hundred objects at the default client-side limit takes below this.
APPLY_ALLOWANCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class ReleaseOptions:
    """The options that an upgrade and a rollback share. `timeout` is a Go duration."""

    release: str
    namespace: str
    timeout: str
    wait: bool = True
    wait_for_jobs: bool = True
    """Whether helm waits for Jobs too. False where some are deleted after their end: helm would count those as failed."""
    force_replace: bool = False
    force_conflicts: bool = True
    """Whether helm takes over the fields of other managers, instead of failing."""

    @property
    def wait_arguments(self) -> tuple[str, ...]:
        """The arguments by which helm waits, or does not."""
        if not self.wait:
            return ()
        return _WAIT if self.wait_for_jobs else _WAIT_WITHOUT_JOBS


def deadline(timeout: str) -> float:
    """Return the seconds after which a helm command with this `--timeout`, a Go duration, counts as hung."""
    return APPLY_ALLOWANCE_SECONDS + seconds(timeout) * (1 + HOOKS_ALLOWED_FOR)


@dataclass(frozen=True, slots=True)
class UpgradeOptions(ReleaseOptions):
    """What `helm upgrade --install` needs in addition to the values."""

    create_namespace: bool = True
    dry_run: bool = False
    offline: bool = False
    """Whether a dry run renders without building the objects, and with an empty `lookup`."""
    take_ownership: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    skip_schema_validation: bool = False


def upgrade(options: UpgradeOptions, *, chart: Path) -> list[str]:
    """Return the arguments that install or upgrade; those for the values follow them."""
    arguments = [
        "upgrade",
        options.release,
        str(chart),
        "--install",
        f"--namespace={options.namespace}",
        # Without it helm silently reuses the values of the last revision when none are given.
        "--reset-values",
        f"--timeout={options.timeout}",
        f"--history-max={HISTORY_MAX}",
        # The progress on stderr shows when everything is applied and only the wait is left.
        "--debug",
        "--hide-notes",
        # The operator applies what is in crds/ folders, since helm does so on an install only.
        "--skip-crds",
        *_apply_method(options),
    ]
    if options.labels:
        arguments.append("--labels=" + ",".join(f"{key}={value}" for key, value in options.labels.items()))
    if options.create_namespace:
        arguments.append("--create-namespace")
    if options.take_ownership:
        arguments.append("--take-ownership")
    if options.skip_schema_validation:
        arguments.append("--skip-schema-validation")
    if options.dry_run:
        # The output includes Secrets, since they too are validated and adopted; only the operator reads it.
        arguments += [f"--dry-run={'client' if options.offline else 'server'}", "--output=json"]
    else:
        arguments += options.wait_arguments
    return arguments


@dataclass(frozen=True, slots=True)
class TemplateOptions:
    """What `helm template` needs to know of a cluster that it does not ask."""

    release: str
    namespace: str
    kube_version: str
    api_versions: Sequence[str] = ()
    """Group/version, and group/version/Kind, of everything that the cluster serves."""
    is_upgrade: bool = False
    skip_schema_validation: bool = False


def template(options: TemplateOptions, *, chart: Path) -> list[str]:
    """Return the arguments that render a chart without the cluster; those for the values follow them."""
    return [
        "template",
        options.release,
        str(chart),
        f"--namespace={options.namespace}",
        f"--kube-version={options.kube_version}",
        *([f"--api-versions={','.join(options.api_versions)}"] if options.api_versions else []),
        *(["--is-upgrade"] if options.is_upgrade else []),
        *(["--skip-schema-validation"] if options.skip_schema_validation else []),
        "--no-hooks",
        "--skip-crds",
    ]


def template_crds(options: TemplateOptions, *, chart: Path) -> list[str]:
    """Return the arguments that print the crds/ folders of a chart without templates, and of its enabled subcharts."""
    # The values are validated when the chart itself is rendered.
    arguments = template(replace(options, skip_schema_validation=True), chart=chart)
    return [*(argument for argument in arguments if argument != "--skip-crds"), "--include-crds"]


def rollback(options: ReleaseOptions, *, revision: int, description: str, by_server: bool) -> list[str]:
    """Return the arguments that roll a release back to an earlier revision.

    `by_server` says that server-side apply was used for that revision: helm refuses --force-conflicts for any other.
    """
    method = ["--force-conflicts"] if by_server and options.force_conflicts else []
    return [
        "rollback",
        options.release,
        str(revision),
        f"--namespace={options.namespace}",
        f"--timeout={options.timeout}",
        f"--history-max={HISTORY_MAX}",
        f"--description={description}",
        "--debug",
        # helm applies the good revision in the same way as the first time, which it has stored (--server-side=auto).
        *(_REPLACE if options.force_replace else method),
        *options.wait_arguments,
    ]


def uninstall(*, release: str, namespace: str, timeout: str, foreground: bool, wait: bool) -> list[str]:
    """Return the arguments that remove a release with all its objects.

    Only deletion in the `foreground` shows when the dependents (pods) are deleted too. With `wait`, helm waits until everything
    is deleted and then deletes the release; without, it keeps the revisions, the newest as uninstalled, and the caller waits.
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


def run_tests(*, release: str, namespace: str, timeout: str, only: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Return the arguments that run the tests of a release with these names, or all, and print the logs of their pods.

    Each test may take as long as `timeout`; Helm ends at the first one that fails.
    """
    filters = [*(f"name={name}" for name in only), *(f"!name={name}" for name in exclude)]
    return [
        "test",
        release,
        f"--namespace={namespace}",
        f"--timeout={timeout}",
        # Before helm deletes what a hook-delete-policy has it delete.
        "--logs",
        *(f"--filter={each}" for each in filters),
    ]


def leave_fields(fields: LeftFields) -> list[Argument]:
    """Return the arguments by which an upgrade leaves fields to their managers; in a file, since values may be secrets."""
    if not fields:
        return []
    return [
        f"--post-renderer={post_renderer.NAME}",
        FileArgument("--post-renderer-args", fields.encode(), "the fields that are left to their managers"),
    ]


def pull(source: ChartSource, *, destination: Path) -> list[str]:
    """Return the arguments that fetch a packaged chart from a repository or registry into a folder."""
    arguments = ["pull", source.oci or source.name or "", f"--destination={destination}"]
    if source.repository:
        arguments.append(f"--repo={source.repository}")
    if source.version:
        arguments.append(f"--version={source.version}")
    if source.plain_http:
        arguments.append("--plain-http")
    return arguments


def show_crds(chart: Path) -> list[str]:
    """Return the arguments that print the files in the crds/ folders of a chart and its subcharts."""
    return ["show", "crds", str(chart)]


def _apply_method(options: UpgradeOptions) -> list[str]:
    if options.force_replace:
        return list(_REPLACE)
    method = ["--server-side=true"]
    if options.force_conflicts or options.take_ownership:
        # Without it every upgrade fails once another manager has changed a field that the chart sets, and every adoption.
        method.append("--force-conflicts")
    if not options.dry_run:
        # Under server-side apply the API server itself refuses wrong fields (fieldValidation=Strict), so only a dry run needs
        # helm's own check, which costs more than half of its CPU time.
        method.append("--disable-openapi-validation")
    return method
