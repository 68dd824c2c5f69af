"""Which fields of a release are left to other managers, and how."""

import pytest

from managedchart_operator.api.conflicts import LeftToManager
from managedchart_operator.helm.left_fields import LeftField, Place
from managedchart_operator.helm.manifest_fields import FieldEdit
from managedchart_operator.kube.field_owners import Manager, OwnedField
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reconcile.adopted import place_of
from managedchart_operator.reconcile.left_fields import REPLICAS, Left, fields_left, left_field

WEB = ObjectRef("apps/v1", "Deployment", "web", "apps")
HPA = ObjectRef("autoscaling/v2", "HorizontalPodAutoscaler", "web", "apps")
KUBECTL, CONTROLLER, INJECTOR = (
    Manager("kubectl", "scale"),
    Manager("kube-controller-manager", "scale"),
    Manager("injector"),
)
IMAGE = ("f:spec", "f:containers", 'k:{"name":"web"}', "f:image")
BUNDLE = ("f:webhooks", 'k:{"name":"a.example.com"}', "f:clientConfig", "f:caBundle")


def left(*owned: OwnedField, leave: list[dict[str, object]] | None = None, hpa: bool = False) -> list[Left]:
    rules = [LeftToManager.model_validate(rule) for rule in leave or []]
    autoscalers = {place_of(WEB): [HPA]} if hpa else {}
    return fields_left({WEB: list(owned)}, [WEB], rules=rules, autoscalers=autoscalers)


def test_without_other_managers_nothing_is_left() -> None:
    assert left() == []
    assert left(OwnedField(IMAGE, INJECTOR)) == []


def test_scaled_replicas_are_left_while_the_chart_is_unchanged() -> None:
    assert left(OwnedField(REPLICAS, KUBECTL)) == [Left(WEB, REPLICAS, held=True, while_unchanged=True)]


def test_an_autoscaler_keeps_its_replicas() -> None:
    assert left(OwnedField(REPLICAS, CONTROLLER), hpa=True) == [
        Left(WEB, REPLICAS, held=True, autoscalers=(HPA,), while_unchanged=True)
    ]


def test_an_autoscaler_that_has_not_scaled_yet_keeps_its_replicas() -> None:
    """helm alone owns them, so leaving them out would reset them."""
    assert left(hpa=True) == [Left(WEB, REPLICAS, held=False, autoscalers=(HPA,))]


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        ({"managers": ["injector"]}, True),
        ({"managers": ["other"]}, False),
        ({"paths": ["/webhooks/*/clientConfig/caBundle"]}, True),
        ({"paths": ["/webhooks/a.example.com"]}, True),
        ({"paths": ["/webhooks/b.example.com"]}, False),
        ({"paths": ["/webhooks"]}, True),
        ({"paths": ["/webhooks/*/clientConfig/caBundle/x"]}, False),
        ({"paths": ["/spec"]}, False),
        ({"subresource": "scale"}, False),
        ({"managers": ["injector"], "target": {"kind": "Deployment", "name": "web"}}, True),
        ({"managers": ["injector"], "target": {"kind": "Deployment", "name": "other"}}, False),
        ({"managers": ["injector"], "target": {"apiVersion": "apps/v9"}}, True),
        ({"managers": ["injector"], "target": {"group": ""}}, False),
    ],
)
def test_a_rule_selects_fields(rule: dict[str, object], fits: bool) -> None:
    assert left(OwnedField(BUNDLE, INJECTOR), leave=[rule]) == ([Left(WEB, BUNDLE, held=True)] if fits else [])


def test_a_rule_for_scale_goes_before_the_charts_value() -> None:
    assert left(OwnedField(REPLICAS, KUBECTL), leave=[{"subresource": "scale"}]) == [Left(WEB, REPLICAS, held=True)]


def test_a_key_of_a_list_is_never_left() -> None:
    """Without its name a container is another one."""
    assert left(OwnedField((*IMAGE[:-1], "f:name"), INJECTOR), leave=[{"managers": ["injector"]}]) == []


PLACE = Place("autoscaling", "HorizontalPodAutoscaler", "apps", "web")


@pytest.mark.parametrize(
    ("each", "charted", "own", "expected"),
    [
        (Left(WEB, IMAGE, held=True), "2", False, LeftField(FieldEdit(IMAGE))),
        (Left(WEB, REPLICAS, held=True, while_unchanged=True), "2", False, LeftField(FieldEdit(REPLICAS, only_if="2"))),
        (Left(WEB, REPLICAS, held=True, while_unchanged=True), None, False, None),
        (Left(WEB, REPLICAS, held=True, autoscalers=(HPA,)), "2", False, LeftField(FieldEdit(REPLICAS))),
        (Left(WEB, REPLICAS, held=True, autoscalers=(HPA,)), "2", True, LeftField(FieldEdit(REPLICAS, only_if="2"), (PLACE,))),
        (Left(WEB, REPLICAS, held=True, autoscalers=(HPA,)), None, True, LeftField(FieldEdit(REPLICAS), (PLACE,))),
    ],
)  # fmt: skip
def test_how_a_field_is_left(each: Left, charted: str | None, own: bool, expected: LeftField | None) -> None:
    """An autoscaler of the release may be removed by the very upgrade; one of somebody else is not."""
    found = left_field(each, value=None, charted=charted, own={place_of(HPA)} if own else ())
    assert found == expected


def test_what_helm_would_reset_is_written_even_if_the_chart_no_longer_renders_it() -> None:
    """A chart that stops rendering replicas left one of six: helm alone owned them."""
    for each in (Left(WEB, REPLICAS, held=False, autoscalers=(HPA,)), Left(WEB, IMAGE, held=True)):
        found = left_field(each, value="6", charted="2", own=())
        assert found == LeftField(FieldEdit(each.path, "6", insert=True))
