"""kwok's configuration: the stage files, with their abbreviations written out.

kwok's templates know no includes, and one event of a kubelet takes forty lines; so a stage file may say, on a line
of its own,

    - @mode In [crash, oom]              in a selector: the failure that the pod chose ("" when none)
    - @failing .waiting.reason In [X]    in a selector: something of the failing container's state
    - @event Warning BackOff: "text"     among the steps: an event about the failing container, text being a template's
    @failing-container                   in a template: sets $failing (its name), $image, $restarts so far, $not_found
                                         (what a registry says of the image), $exit_code, $exit_reason, $now and $uid
    @initialized, @not-ready             in a template: those conditions
    @init-containers, @addresses         in a template: those parts of a started pod's status
    @running, @terminated                in a template: those parts of one container's status

Not here: what the stages do; that is in stages/*.yaml.in.
"""

import json
import re
import textwrap
from pathlib import Path

from . import folders

MODES = ("image", "config", "crash", "oom", "unready", "job-fail", "never", "slow")
"""The failures that a pod may choose by the annotation or label devcluster.managedchart.dev/fail."""

_PREFIX = "devcluster.managedchart.dev"
_MODE = f'.metadata.annotations["{_PREFIX}/fail"] // .metadata.labels["{_PREFIX}/fail"] // ""'
_FAILING = (
    f'(.metadata.annotations["{_PREFIX}/container"] // .spec.containers[0].name) as $name'
    " | .status.containerStatuses[]? | select(.name == $name) | .state"
)

_CONFIGURATION = {
    "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
    "kind": "KwokConfiguration",
    # kwok applies no defaults to a configuration file, so it has to have every option.
    "options": {
        "podPlayStageParallelism": 16,  # kwok's 4 make a hundred pods that start together wait for each other
        "nodePlayStageParallelism": 1,
        "nodeLeaseParallelism": 1,
        "nodeLeaseDurationSeconds": 40,
        "podsOnNodeSyncParallelism": 1,
        "enablePodsOnNodeSyncListPager": True,
        "enablePodsOnNodeSyncStreamWatch": False,
        "enableDebuggingHandlers": True,  # container logs
    },
}

_PARTIALS = {
    "@failing-container": """\
{{ $now := Now }}
{{ $uid := .metadata.uid }}
{{ $annotations := or .metadata.annotations dict }}
{{ $labels := or .metadata.labels dict }}
{{ $failing := or (index $annotations "PREFIX/container") (index .spec.containers 0).name }}
{{ $image := "" }}
{{ $missing := list }}
{{ range .spec.containers }}{{ if eq .name $failing }}
{{ $image = .image }}
{{ range .envFrom }}
{{ with .configMapRef }}{{ $missing = append $missing (printf "configmap %q not found" .name) }}{{ end }}
{{ with .secretRef }}{{ $missing = append $missing (printf "secret %q not found" .name) }}{{ end }}
{{ end }}
{{ range .env }}{{ with .valueFrom }}
{{ with .configMapKeyRef }}{{ $missing = append $missing (printf "configmap %q not found" .name) }}{{ end }}
{{ with .secretKeyRef }}{{ $missing = append $missing (printf "secret %q not found" .name) }}{{ end }}
{{ end }}{{ end }}
{{ end }}{{ end }}
{{ $missing = first (append $missing "configmap \\"settings\\" not found") }}
{{ $restarts := 0 }}
{{ range .status.containerStatuses }}{{ if eq .name $failing }}
{{ $restarts = int .restartCount }}
{{ end }}{{ end }}
{{ $not_found := printf "failed to pull and unpack image %q: failed to resolve reference %q" $image $image }}
{{ $not_found = printf "rpc error: code = NotFound desc = %s: %s: not found" $not_found $image }}
{{ $oom := has "oom" (list (index $annotations "PREFIX/fail") (index $labels "PREFIX/fail")) }}
{{ $exit_code := ternary "137" (or (index $annotations "PREFIX/exit-code") "1") $oom }}
{{ $exit_reason := ternary "OOMKilled" "Error" $oom }}
""".replace("PREFIX", _PREFIX),
    "@initialized": """\
{{ range list "PodReadyToStartContainers" "Initialized" }}
- {type: {{ . }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
""",
    "@not-ready": """\
{{ range list "ContainersReady" "Ready" }}
- type: {{ . }}
  status: "False"
  reason: ContainersNotReady
  message: 'containers with unready status: [{{ $failing }}]'
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
""",
    "@running": """\
imageID: {{ printf "sha256:%s" (sha256sum .image) | Quote }}
containerID: {{ printf "containerd://%s" (sha256sum (printf "%s/%s/0" $uid .name)) | Quote }}
ready: {{ ne .name $failing }}
started: true
state: {running: {startedAt: {{ $now | Quote }}}}
""",
    "@terminated": """\
terminated:
  exitCode: {{ $exit_code }}
  reason: {{ $exit_reason }}
  containerID: {{ .containerID | Quote }}
  startedAt: {{ .state.running.startedAt | Quote }}
  finishedAt: {{ $now | Quote }}
""",
    "@init-containers": """\
initContainerStatuses:
{{ range .spec.initContainers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: {{ printf "sha256:%s" (sha256sum .image) | Quote }}
  containerID: {{ printf "containerd://%s" (sha256sum (printf "%s/%s/0" $uid .name)) | Quote }}
  ready: true
  restartCount: 0
  {{ if eq (or .restartPolicy "") "Always" }}
  started: true
  state: {running: {startedAt: {{ $now | Quote }}}}
  {{ else }}
  started: false
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}
  {{ end }}
{{ end }}
""",
    # kwok's own addresses come from a pool that two workers may each create at first: two pods then get the same one.
    "@addresses": """\
{{ $host := NodeIPWith .spec.nodeName }}
{{ $ip := printf "10.%d.%d.%d" (add 128 (mod (int (printf "0x%s" (substr 0 2 $uid))) 128)) \
(int (printf "0x%s" (substr 2 4 $uid))) (int (printf "0x%s" (substr 4 6 $uid))) }}
{{ if or .spec.hostNetwork false }}{{ $ip = $host }}{{ end }}
hostIP: {{ $host | Quote }}
hostIPs: [{ip: {{ $host | Quote }}}]
podIP: {{ $ip | Quote }}
podIPs: [{ip: {{ $ip | Quote }}}]
""",
}

# A kubelet counts an event up instead of writing it again, hence a name that stays and a count that follows the
# container's restarts. kwok's own events have no fieldPath and another source.
_EVENT = """\
- apply:
    type: merge
    template: |
      @failing-container
      apiVersion: v1
      kind: Event
      metadata:
        name: {{ printf "%s.%.16s" .metadata.name (sha256sum (printf "%s KEY" .metadata.uid)) }}
        namespace: {{ .metadata.namespace }}
      involvedObject:
        apiVersion: v1
        kind: Pod
        name: {{ .metadata.name }}
        namespace: {{ .metadata.namespace }}
        uid: {{ .metadata.uid }}
        resourceVersion: {{ .metadata.resourceVersion | Quote }}
        fieldPath: spec.containers{{ printf "{%s}" $failing }}
      type: TYPE
      reason: REASON
      message: {{ MESSAGE | Quote }}
      count: {{ add1 $restarts }}
      {{ if eq $restarts 0 }}
      firstTimestamp: {{ $now | Quote }}
      {{ end }}
      lastTimestamp: {{ $now | Quote }}
      reportingComponent: kubelet
      reportingInstance: {{ .spec.nodeName }}
      source: {component: kubelet, host: {{ .spec.nodeName }}}
"""


def configuration() -> str:
    """Everything that kwok reads from its configuration file, as one YAML stream."""
    files = sorted((folders.SOURCE / "stages").glob("*.yaml.in"))
    return "---\n".join([*(_expand(file) for file in files), json.dumps(_CONFIGURATION) + "\n"])


def _expand(file: Path) -> str:
    text = file.read_text().replace("@LOGS@", str(folders.SOURCE / "logs"))
    text = re.sub(r"^( *)- @event (\w+) (\w+): (.+)$", _event, text, flags=re.MULTILINE)
    text = re.sub(r"^( *)- @mode (\w+) (\[.*\])$", _mode, text, flags=re.MULTILINE)
    text = re.sub(r"^( *)- @failing (\S+) (\w+)(?: (\[.*\]))?$", _failing, text, flags=re.MULTILINE)
    # Last, because an event's template uses one of them.
    return re.sub(r"^( *)(@[a-z-]+)$", _partial, text, flags=re.MULTILINE)


def _event(line: re.Match[str]) -> str:
    indent, kind, reason, message = line.groups()
    # The text distinguishes two events of one reason; without its quotation marks, since it becomes part of a string.
    key = f"{reason} {re.sub('[^A-Za-z: ]', '', message)}"
    block = _EVENT.replace("KEY", key).replace("TYPE", kind).replace("REASON", reason).replace("MESSAGE", message)
    return textwrap.indent(block, indent).rstrip("\n")


def _mode(line: re.Match[str]) -> str:
    return _requirement(line[1], _MODE, line[2], line[3])


def _failing(line: re.Match[str]) -> str:
    return _requirement(line[1], f"{_FAILING} | {line[2]}", line[3], line[4])


def _requirement(indent: str, key: str, operator: str, values: str | None) -> str:
    return f"{indent}- jq: {{key: '{key}', operator: {operator}{f', values: {values}' if values else ''}}}"


def _partial(line: re.Match[str]) -> str:
    return textwrap.indent(_PARTIALS[line[2]], line[1]).rstrip("\n")
