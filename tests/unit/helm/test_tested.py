"""Which tests have passed, from what helm 4.3.1 prints."""

from managedchart_operator.helm.tested import read_tested

OUTPUT = """\
NAME: x
LAST DEPLOYED: Thu Nov 26 14:18:29 2026
NAMESPACE: t
STATUS: deployed
REVISION: 1
DESCRIPTION: Install complete
TEST SUITE:     x-good
Last Started:   Thu Nov 26 14:18:29 2026
Last Completed: Thu Nov 26 14:18:35 2026
Phase:          Succeeded
TEST SUITE:     x-bad
Last Started:   Thu Nov 26 14:18:35 2026
Last Completed: Thu Nov 26 14:18:35 2026
Phase:          Failed
NOTES:
Phase: everything is fine
POD LOGS: x-good (main)
starting, version 1.0.0

POD LOGS: x-bad (main)
reading the configuration
TEST SUITE:     x-good
Last Started:   now
Last Completed: now
Phase:          Failed

"""


def test_tests_and_logs_are_read() -> None:
    """A log that looks like a report is not taken for one."""
    found = read_tested(OUTPUT)

    assert (found.passed, found.failed) == (("x-good",), ("x-bad",))
    assert found.logs["x-good", "main"] == "starting, version 1.0.0"
    assert found.logs["x-bad", "main"].startswith("reading the configuration\nTEST SUITE")


def test_a_chart_without_tests_has_none() -> None:
    assert read_tested("NAME: x\nSTATUS: deployed\nTEST SUITE: None\n").passed == ()
