"""The known resources: never an older view for a newer one, and who may have which release."""

from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.api.resource import Key
from managedchart_operator.reconcile.claims import Claim
from managedchart_operator.reconcile.store import Store
from unit.reconcile.fakes import chart

WEB = ("apps", "web")


def names(claims: list[Claim]) -> list[str]:
    return [item.key.name for item in claims]


def test_the_newest_view_is_kept_whatever_the_order() -> None:
    """A watch may be behind the answer to the operator's own write."""
    store = Store()
    for version in (3, 5, 4, 1):
        store.put(chart(resource_version=version))
    known = store.get(Key("apps", "web"))
    assert known is not None
    assert known.resource_version == 5


def test_a_late_view_of_a_replaced_object_is_ignored() -> None:
    """Resource versions count on over all objects of a kind, so the deleted one of the same name is the older one."""
    store = Store()
    store.put(chart(uid="new", resource_version=9))
    store.put(chart(uid="old", resource_version=7))
    known = store.get(Key("apps", "web"))
    assert known is not None
    assert known.uid == "new"


def test_an_object_is_kept_whole() -> None:
    """It is packed; a field that is forgotten there would be empty."""
    store = Store()
    wanted = chart(
        deleting=True,
        deletion_requested="2026-01-02T00:00:00Z",
        finalizers=("a",),
        requests={"managedchart.dev/retry": "1"},
        status={"phase": "Ready"},
    )
    store.put(wanted)
    assert store.get(wanted.key) == wanted


def test_a_long_spec_is_kept_compressed() -> None:
    """S22: a megabyte of values takes a small part of that, and stays as it is when the status changes."""
    store, key = Store(), Key("apps", "web")
    values = {f"key-{number}": f"value of {number}, which is repeated" for number in range(20_000)}
    store.put(chart(spec={"values": values}))
    packed = store._charts[key].spec
    assert len(packed.text) < packed.size / 4
    assert store.size(key) == packed.size > 900_000
    assert store.largest > packed.size
    store.put_status(chart(resource_version=2, spec={}, status={"phase": "Exec"}))
    store.put(chart(resource_version=3, spec={"values": values}, status={"phase": "Ready"}))
    assert store._charts[key].spec is packed
    store.put(chart(resource_version=4, spec={"values": {**values, "key-1": "changed"}}))
    known = store.get(key)
    assert known is not None
    assert known.spec["values"] == {**values, "key-1": "changed"}


def test_a_recreated_object_replaces_the_old_one() -> None:
    store = Store()
    store.put(chart(uid="old", resource_version=7))
    store.put(chart(uid="new", resource_version=9))
    known = store.get(Key("apps", "web"))
    assert known is not None
    assert known.uid == "new"
    assert len(store) == 1


def test_the_deletion_of_a_replaced_object_removes_nothing() -> None:
    store = Store()
    store.put(chart(uid="new", resource_version=9))
    assert store.remove(Key("apps", "web"), uid="old") == []
    assert len(store) == 1
    assert store.remove(Key("apps", "unknown"), uid="old") == []


def test_a_status_answer_does_not_hide_new_specs() -> None:
    """It has the spec of its time, which the watch reports 0.1 s later; only the watch interrupts a run."""
    store = Store()
    store.put(chart(generation=1, resource_version=1))
    store.put_status(
        chart(generation=2, resource_version=3, deleting=True, spec={"new": True}, status={"phase": "Exec"})
    )
    known = store.get(Key("apps", "web"))
    assert known is not None
    assert (known.generation, known.deleting, known.spec) == (1, False, chart().spec)
    assert (known.status, known.resource_version) == ({"phase": "Exec"}, 3)
    store.put(chart(generation=2, resource_version=3, status={"phase": "Exec"}))
    again = store.get(Key("apps", "web"))
    assert again is not None
    assert again.generation == 2


def test_a_late_status_answer_is_ignored() -> None:
    """Of an object that was deleted, was replaced, or is known in a newer version."""
    store = Store()
    store.put_status(chart(resource_version=9))
    assert len(store) == 0
    store.put(chart(uid="new", resource_version=7))
    store.put_status(chart(uid="old", resource_version=9, status={"phase": "Exec"}))
    store.put_status(chart(uid="new", resource_version=6, status={"phase": "Exec"}))
    known = store.get(Key("apps", "web"))
    assert known is not None
    assert (known.uid, known.resource_version, known.status) == ("new", 7, {})


def test_claims_are_by_release_name_and_namespace() -> None:
    store = Store()
    store.put(chart("web"))
    store.put(chart("other", spec={"releaseName": "web"}))
    store.put(chart("far", namespace="team", spec={"releaseName": "web", "targetNamespace": "apps"}))
    store.put(chart("web", namespace="team", uid="u"))
    assert sorted(names(store.claims(WEB))) == ["far", "other", "web"]
    assert names(store.claims(("team", "web"))) == ["web"]
    assert store.claims(("team", "nothing")) == []


def test_claims_follow_the_spec() -> None:
    store = Store()
    store.put(chart(resource_version=1))
    store.put(chart(resource_version=2, spec={"releaseName": "blue"}))
    assert store.claims(WEB) == []
    assert names(store.claims(("apps", "blue"))) == ["web"]


def test_removing_a_claimant_returns_the_others() -> None:
    store = Store()
    for name in ("c", "a", "b"):
        store.put(chart(name, spec={"releaseName": "web"}))
    assert store.remove(Key("apps", "b"), uid="uid-b") == [Key("apps", "a"), Key("apps", "c")]


def test_the_number_of_namespaces_is_known() -> None:
    """With one alone, nobody else needs its slots."""
    store = Store()
    assert store.has_one_namespace()
    store.put(chart("a"))
    store.put(chart("a", resource_version=2))
    store.put(chart("b"))
    assert store.has_one_namespace()
    store.put(chart("c", namespace="team"))
    assert not store.has_one_namespace()
    store.remove(Key("team", "c"), uid="uid-c")
    assert store.has_one_namespace()


def test_keys_can_be_removed_during_iteration() -> None:
    store = Store()
    for name in "abc":
        store.put(chart(name))
    for key in store:
        store.remove(key, uid=f"uid-{key.name}")
    assert len(store) == 0


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "y"]), st.integers(1, 6), st.booleans()), max_size=12
    )
)
def test_claims_match_the_known_objects(
    steps: list[tuple[str, str, int, bool]],
) -> None:
    store = Store()
    for name, release, version, gone in steps:
        store.put(chart(name, resource_version=version, spec={"releaseName": release}))
        if gone:
            store.remove(Key("apps", name), uid=f"uid-{name}")
        claims = {target: store.claims(target) for target in (("apps", "x"), ("apps", "y"))}
        for target, charts in claims.items():
            assert all(item.target == target for item in charts)
        assert sum(map(len, claims.values())) == len(store)
    for key in store:
        store.remove(key, uid=f"uid-{key.name}")
    assert not store._claims
