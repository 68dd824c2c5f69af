"""Objects are selected by the fields that are given; the others match everything."""

import pytest
from pydantic import ValidationError

from managedchart_operator.api.object_selector import ObjectSelector

SECRET = {"group": "external-secrets.io", "kind": "ExternalSecret", "namespace": "demo", "name": "db"}
CORE = {"group": "", "kind": "Service", "namespace": "demo", "name": "db"}
CLUSTER_WIDE = {"group": "cert-manager.io", "kind": "ClusterIssuer", "namespace": "", "name": "db"}


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({"kind": "ExternalSecret"}, [SECRET]),
        ({"name": "db"}, [SECRET, CORE, CLUSTER_WIDE]),
        ({"namespace": "demo"}, [SECRET, CORE]),
        ({"namespace": "other"}, []),
        ({"group": "external-secrets.io"}, [SECRET]),
        ({"group": ""}, [CORE]),
        ({"apiVersion": "external-secrets.io/v1beta1"}, [SECRET]),
        ({"apiVersion": "v1"}, [CORE]),
        ({"apiVersion": "v1", "kind": "ExternalSecret"}, []),
        ({"kind": "ExternalSecret", "name": "db", "namespace": "demo", "group": "external-secrets.io"}, [SECRET]),
        ({"kind": "ExternalSecret", "name": "other"}, []),
        ({"kind": "externalsecret"}, []),
    ],
    ids=str,
)
def test_every_given_field_must_match(selector: dict[str, str], selected: list[dict[str, str]]) -> None:
    chosen = ObjectSelector.model_validate(selector)

    assert [each for each in (SECRET, CORE, CLUSTER_WIDE) if chosen.matches(**each)] == selected


@pytest.mark.parametrize(
    ("selector", "problem"),
    [
        ({}, "name at least one of apiVersion, group, kind, name and namespace"),
        ({"apiVersion": "apps/v1", "group": "apps"}, "set apiVersion or group, not both"),
        ({"apiVersion": "apps"}, "apiVersion"),
        ({"group": "apps/v1"}, "group"),
        ({"kind": ""}, "kind"),
        ({"kinds": "Deployment"}, "kinds"),
    ],
    ids=str,
)
def test_a_selector_that_is_a_mistake_is_refused(selector: dict[str, str], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        ObjectSelector.model_validate(selector)
