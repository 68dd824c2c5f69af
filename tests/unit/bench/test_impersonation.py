"""How `make bench-impersonation` compares its turns, and what it prints."""

import json
from collections import Counter

from benchmark.impersonation import GOALS, Turn, summary, table


def turn(seconds: float, *, operator: int, helm: int, impersonated: int = 0) -> Turn:
    return Turn(seconds, Counter({"managedchart-operator": operator, "Helm": helm}), impersonated)


def test_each_ratio_is_of_one_pair_and_requests_are_for_one_install() -> None:
    own = [turn(10, operator=100, helm=200), turn(20, operator=100, helm=202), turn(10, operator=100, helm=198)]
    account = [turn(11, operator=110, helm=200, impersonated=270) for _ in own]
    document = summary(own, account, n=10) | {"n": 10, "goals": GOALS}
    assert (document["ratios"], document["median_ratio"]) == ([1.1, 0.55, 1.1], 1.1)
    assert (document["own_requests"], document["impersonated_requests"], document["extra_requests"]) == (30, 31, 1)
    assert document["extra_by_program"] == {"Helm": 0, "managedchart-operator": 1}
    assert document["as_account"] == 27
    assert json.loads(json.dumps(document)) == document
    lines = table(document).splitlines()
    assert lines[4].split() == ["2", "20.00", "11.00", "0.550"]
    assert lines[7].split() == ["median_ratio", "1.100", "goal:", "at", "most", "1.1"]
    assert lines[8].split() == ["extra_requests", "1.000", "goal:", "at", "most", "3"]
