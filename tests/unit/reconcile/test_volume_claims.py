"""Which failed first installs have data that an uninstall would leave behind."""

import pytest

from managedchart_operator.reconcile.remediation import claims_of

CLAIM = "kind: PersistentVolumeClaim\nmetadata: {name: files}\n"
STATEFUL_SET = "kind: StatefulSet\nmetadata: {name: db}\nspec: {volumeClaimTemplates: [{metadata: {name: data}}]%s}\n"


@pytest.mark.parametrize(
    ("manifest", "named"),
    [
        (CLAIM, ("PersistentVolumeClaim files",)),
        (STATEFUL_SET % "", ("StatefulSet db (volume claims data-db-0)",)),
        (STATEFUL_SET % ", replicas: 3", ("StatefulSet db (volume claims data-db-0 to data-db-2)",)),
        (STATEFUL_SET.replace("[{metadata: {name: data}}]", "[{}, 1]") % "", ("StatefulSet db",)),
        (
            STATEFUL_SET % ", persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Delete}",
            ("StatefulSet db (volume claims data-db-0)",),
        ),
        (STATEFUL_SET % ", persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete}", ()),
        ("kind: StatefulSet\nmetadata: {name: db}\nspec: {replicas: 1}\n", ()),
        ("kind: StatefulSet\nmetadata: {name: db}\nspec: [1]\n", ()),
        ("kind: Deployment\nmetadata: {name: web}\nspec: {volumeClaimTemplates: [{}]}\n", ()),
        (
            f"{CLAIM}---\n{STATEFUL_SET % ''}",
            ("PersistentVolumeClaim files", "StatefulSet db (volume claims data-db-0)"),
        ),
        ("kind: [", ("objects that cannot be read",)),
    ],
)
def test_objects_with_lasting_data_are_found(manifest: str, named: tuple[str, ...]) -> None:
    assert claims_of([manifest, manifest]) == named
