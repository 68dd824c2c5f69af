"""Which charts have hooks that run after their objects are ready; in doubt, all."""

import pytest

from managedchart_operator.charts.late_hooks import is_rendered, template_has_ttl_jobs, text_has_late_hooks

LATE = [
    'annotations:\n  "helm.sh/hook": post-install,post-upgrade\n',
    "annotations:\n  helm.sh/hook: post-upgrade\n",
    "annotations:\n  'helm.sh/hook': \"pre-install, post-install\"\n",
    "annotations: {helm.sh/hook: post-install}\n",
    'annotations:\n  "helm.sh/hook": {{ .Values.hook | quote }}\n',
    "annotations:\n  helm.sh/hook: >-\n    post-install\n",
    "annotations:\n  helm.sh/hook:\n    post-install\n",
    '{{- $_ := set $annotations "helm.sh/hook" "post-install" }}\n',
    '{{ dict "helm.sh/hook" .Values.hook | toYaml }}\n',
    '{{ printf "helm.sh/%s" "hook" }}: post-install\n',
    "helm.sh/{{ .Values.name }}: post-install\n",
    '{"metadata":{"annotations":{"helm.sh/hook":"post-install"},"name":"a"}}',
    "helm.sh/hook: something-new\n",
    "annotations:\n  helm.sh/hook: pre-upgrade,\n    post-install\n",
    "annotations:\n  helm.sh/hook: pre-upgrade,\r\n    post-install\r\n",
    "annotations:\n  helm.sh/hook: pre-upgrade\n    , post-install\n",
    "annotations:\n  helm.sh/hook: pre-upgrade\n\n    , post-install\n",
    'annotations:\n  helm.sh/hook: "pre-upgrade,\n    post-install"\n',
    "annotations:\n  helm.sh/hook: 'pre-upgrade,\n    post-install'\n",
    'annotations:\n  helm.sh/hook: "pre-upgrade,\\\n    post-install"\n',
    "annotations:\n  helm.sh/hook: &hook pre-upgrade\n",
    "annotations:\n  helm.sh/hook: *hook\n",
    "annotations:\n  helm.sh/hook: !!str pre-upgrade\n",
    "annotations:\n  helm.sh/hook: |\n    pre-upgrade,\n    post-install\n",
    'annotations:\n  helm.sh/hook: "pre-upgrade,\\x70ost-install"\n',
    "annotations:\n  ? helm.sh/hook\n  : post-install\n",
    'annotations: {"helm.sh\\/hook": "post-install"}\n',
    "annotations: {helm.sh/hook: pre-upgrade, a: b}\n",
    "annotations: {helm.sh/hook: pre-upgrade,\n  a: b}\n",
    "annotations:\n  helm.sh/hook: pre-upgrade{{ .Values.more }}\n",
    "annotations:\n  helm.sh/hook: pre-upgrade#post-install\n",
    "annotations:\n  helm.sh/hook:\n",
]
EARLY = [
    "kind: ConfigMap\n",
    'annotations:\n  "helm.sh/hook": test\n',
    "annotations:\n  helm.sh/hook: pre-install,pre-upgrade # before all\n",
    'annotations:\n  "helm.sh/hook": "pre-delete, post-delete"\n',
    'annotations: {"helm.sh/hook": test-success}\n',
    "annotations:\n  helm.sh/hook-weight: '-5'\n  helm.sh/hook-delete-policy: hook-succeeded\n",
    "labels:\n  helm.sh/chart: web-1.0\n  helm.sh/resource-policy: keep\n",
    "# see https://helm.sh/docs/\n",
    'annotations:\n  helm.sh/hook: pre-install # before all\n\n  # the first\n  helm.sh/hook-weight: "-5"\n',
    "annotations:\n  helm.sh/hook: pre-install\n  {{- with .Values.more }}\n    {{- toYaml . | nindent 4 }}\n  {{- end }}\n",
    "annotations:\r\n  helm.sh/hook: pre-install\r\nspec: {}\r\n",
    '{\n  "annotations": {\n    "helm.sh/hook": "pre-install",\n    "a": "b"\n  }\n}\n',
    'annotations: {"helm.sh/hook": "test"}\n  # deeper\n',
    "annotations:\n  helm.sh/hook: pre-install",
]


@pytest.mark.parametrize("text", LATE)
def test_late_hooks_are_found(text: str) -> None:
    assert text_has_late_hooks(text.encode())


@pytest.mark.parametrize("text", EARLY)
def test_other_hooks_are_not_late(text: str) -> None:
    assert not text_has_late_hooks(text.encode())


def test_a_readme_makes_no_hook() -> None:
    assert not is_rendered("README.md")
    assert is_rendered("templates/a.yaml")


_JOB = b"kind: Job\nspec: {ttlSecondsAfterFinished: 0}\n"
_HOOK = b"metadata: {annotations: {helm.sh/hook: pre-install}}\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (_JOB, True),
        (_HOOK + _JOB, False),
        (_HOOK + _JOB + b"---\n" + _JOB, True),
        (b"kind: Job", False),
    ],
)
def test_jobs_with_a_ttl_count_unless_they_are_hooks(text: bytes, found: bool) -> None:
    """Because of those of ingress-nginx helm waited as helm 3 does, for the address of a load balancer, up to its timeout."""
    assert template_has_ttl_jobs(text) is found
