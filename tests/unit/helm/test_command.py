"""The command lines of helm: each option's effect, and the defaults that are always overridden."""

from pathlib import Path

import pytest

from managedchart_operator.api.spec import ChartSource
from managedchart_operator.helm import command
from managedchart_operator.helm.command import APPLY_ALLOWANCE_SECONDS, ReleaseOptions, UpgradeOptions

CHART = Path("/cache/web-1.0.0.tgz")


def upgrade(**options: object) -> list[str]:
    return command.upgrade(UpgradeOptions("web", "apps", "180s", **options), chart=CHART)  # type: ignore[arg-type]


def test_upgrade_names_release_chart_and_namespace() -> None:
    arguments = upgrade()
    assert arguments[:4] == ["upgrade", "web", str(CHART), "--install"]
    assert "--namespace=apps" in arguments


def test_upgrade_never_reuses_values() -> None:
    assert "--reset-values" in upgrade()


def test_helm_never_applies_crds() -> None:
    """It does so on an install only; the operator applies them."""
    assert "--skip-crds" in upgrade()
    assert "--skip-crds" in upgrade(dry_run=True)


def test_a_template_is_rendered_with_what_the_cluster_serves() -> None:
    options = command.TemplateOptions("web", "apps", "v1.37.2", ["v1", "v1/Pod"], is_upgrade=True)
    assert command.template(options, chart=CHART) == [
        "template",
        "web",
        str(CHART),
        "--namespace=apps",
        "--kube-version=v1.37.2",
        "--api-versions=v1,v1/Pod",
        "--is-upgrade",
        "--no-hooks",
        "--skip-crds",
    ]


def test_crds_are_printed_without_a_check_of_the_values() -> None:
    arguments = command.template_crds(command.TemplateOptions("web", "apps", "v1.37.2"), chart=CHART)
    assert "--include-crds" in arguments
    assert "--skip-schema-validation" in arguments
    assert "--skip-crds" not in arguments


@pytest.mark.parametrize("options", [{}, {"force_replace": True}, {"dry_run": True}], ids=["plain", "force", "dry"])
def test_helm_never_rolls_back_on_failure(options: dict[str, object]) -> None:
    assert not {"--atomic", "--rollback-on-failure", "--cleanup-on-fail"} & set(upgrade(**options))


@pytest.mark.parametrize(
    ("options", "present", "absent"),
    [
        ({}, ["--wait=watcher", "--create-namespace", "--timeout=180s"], ["--take-ownership"]),
        ({"wait": False}, [], ["--wait=watcher", "--wait"]),
        ({"wait_for_jobs": False}, ["--wait=legacy"], ["--wait=watcher", "--wait-for-jobs"]),
        ({}, [], ["--skip-schema-validation"]),
        ({"skip_schema_validation": True, "dry_run": True}, ["--skip-schema-validation"], []),
        ({"skip_schema_validation": True}, ["--skip-schema-validation"], []),
        ({"create_namespace": False}, [], ["--create-namespace"]),
        ({}, ["--server-side=true", "--disable-openapi-validation"], ["--force-replace"]),
        ({"take_ownership": True}, ["--take-ownership"], []),
        (
            {"force_replace": True},
            ["--force-replace", "--server-side=false"],
            ["--server-side=true", "--disable-openapi-validation"],
        ),
        (
            {"dry_run": True},
            ["--dry-run=server", "--output=json"],
            ["--wait=watcher", "--disable-openapi-validation", "--hide-secret"],
        ),
    ],
)
def test_each_option_of_an_upgrade(options: dict[str, object], present: list[str], absent: list[str]) -> None:
    arguments = upgrade(**options)
    assert [argument for argument in present if argument not in arguments] == []
    assert [argument for argument in absent if argument in arguments] == []


@pytest.mark.parametrize("dry_run", [False, True], ids=["real", "dry"])
def test_an_upgrade_takes_over_the_fields_of_others(*, dry_run: bool) -> None:
    """Else none succeeds any more once an autoscaler or a person has changed a field that the chart sets."""
    assert {"--server-side=true", "--force-conflicts"} <= set(upgrade(dry_run=dry_run))


@pytest.mark.parametrize("dry_run", [False, True], ids=["real", "dry"])
def test_a_forced_replacement_forces_no_conflicts(*, dry_run: bool) -> None:
    """helm refuses both flags together."""
    assert "--force-conflicts" not in upgrade(force_replace=True, dry_run=dry_run)


def test_labels_go_with_an_upgrade_in_one_argument() -> None:
    assert "--labels=a/b=1,c/d=2" in upgrade(labels={"a/b": "1", "c/d": "2"})
    assert not [argument for argument in upgrade() if argument.startswith("--labels")]


def test_rollback_uses_the_revisions_apply_method() -> None:
    options = ReleaseOptions("web", "apps", "5m")
    arguments = command.rollback(options, revision=3, description="back to 3", by_server=True)
    assert arguments[:3] == ["rollback", "web", "3"]
    assert {"--namespace=apps", "--timeout=5m", "--description=back to 3", "--wait=watcher"} <= set(arguments)
    assert not [argument for argument in arguments if argument.startswith("--server-side")]


@pytest.mark.parametrize(
    ("by_server", "force_replace", "forced"),
    [
        (True, False, ["--force-conflicts"]),
        (False, False, []),
        (True, True, ["--force-replace"]),
        (False, True, ["--force-replace"]),
    ],
)
def test_rollback_forces_what_helm_allows(*, by_server: bool, force_replace: bool, forced: list[str]) -> None:
    """helm refuses --force-conflicts for a rollback to a revision with client-side apply."""
    options = ReleaseOptions("web", "apps", "5m", force_replace=force_replace)
    arguments = command.rollback(options, revision=1, description="d", by_server=by_server)
    assert [argument for argument in arguments if argument.startswith("--force")] == forced


def test_rollback_has_the_options_of_the_upgrade() -> None:
    options = ReleaseOptions("web", "apps", "5m", wait=False, force_replace=True)
    arguments = command.rollback(options, revision=1, description="d", by_server=True)
    assert {"--force-replace", "--server-side=false"} <= set(arguments)
    assert "--wait=watcher" not in arguments


def test_uninstall_waits_and_accepts_a_missing_release() -> None:
    arguments = command.uninstall(release="web", namespace="apps", timeout="30s", foreground=True, wait=True)
    assert arguments[:2] == ["uninstall", "web"]
    assert {"--namespace=apps", "--timeout=30s", "--cascade=foreground", "--wait=watcher", "--ignore-not-found"} <= set(
        arguments
    )


def test_uninstall_without_wait_keeps_the_revisions() -> None:
    """After a kill, the kept revisions show that the uninstall must be finished."""
    arguments = command.uninstall(release="web", namespace="apps", timeout="30s", foreground=False, wait=False)
    assert {"--cascade=background", "--wait=hookOnly", "--keep-history"} <= set(arguments)
    assert "--wait=watcher" not in arguments


def test_pull_from_a_repository() -> None:
    source = ChartSource(name="podinfo", repository="https://host/charts", version=">=1.2 <2")
    arguments = command.pull(source, destination=Path("/d"))
    assert arguments == ["pull", "podinfo", "--destination=/d", "--repo=https://host/charts", "--version=>=1.2 <2"]


def test_pull_from_a_registry() -> None:
    arguments = command.pull(ChartSource(oci="oci://host/podinfo", plain_http=True), destination=Path("/d"))
    assert arguments == ["pull", "oci://host/podinfo", "--destination=/d", "--plain-http"]


def test_the_deadline_allows_for_hooks() -> None:
    assert command.deadline("10s") == APPLY_ALLOWANCE_SECONDS + 10 * 11
