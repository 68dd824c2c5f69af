"""The rows for errors before anything reaches the cluster: fetching the chart, loading it, its values and templates.

`classify` explains what a row means and in which order they are tried.
"""

import re
from functools import partial

from managedchart_operator.api_refusals import GRANT, MISSING_PERMISSION, Match, permission
from managedchart_operator.helm.errors import template_errors
from managedchart_operator.helm.errors.foreign import NOT_JSON, NOT_TRUSTED, UNUSABLE
from managedchart_operator.helm.errors.pulled import (
    BAD_LOGIN_SERVER,
    NO_ANSWER_OF_A_REGISTRY,
    NO_CHART,
    NOT_CONNECTED,
    WITHHELD,
)
from managedchart_operator.helm.errors.row import TRUST, UNREACHABLE, Row, row
from managedchart_operator.reasons import Reason
from managedchart_operator.shortening import listed, one_line

_VERSION = "Correct spec.chart.version. A version that is published later is found by a retry."
_DOWN = "It is retried automatically. If this persists, check the URL, and the operator's network policies and proxy."
_HTTPS = "Use https:// in spec.chart.repository for a server with TLS; http:// or spec.chart.plainHTTP for one without."
_LOGIN = (
    "Check the address: some servers refuse a chart that does not exist in the same way. There is no field for credentials "
    "yet: run helm pull where you are logged in and put the chart into spec.chart.contents (base64 -w0 chart.tgz), put it "
    "below a chart root of the operator (spec.chart.path), or mirror the chart to a server without a login."
)


def _host(found: Match) -> str:
    """Return where the chart was pulled from: the address of a registry, the URL of a repository."""
    urls = re.findall(r"(?:https?|oci)://[^\s\"]+", found.string)
    if not urls:
        return "The chart's source"
    return re.sub(r"(/v2/.*|/index\.yaml)?:?$", "", urls[-1])


def _unusable_schema(found: Match) -> str:
    """Name the chart whose values.schema.json helm cannot use, and why."""
    chart = re.findall(r"^(\S[^\n]*):$", found.string[: found.start("why")], re.MULTILINE)[1:]
    what, why = f"The values.schema.json{f' of {chart[-1]}' if chart else ''}", found["why"]
    if "is not valid against metaschema" in why:
        return f"{what} is not a valid JSON schema; see helmError"
    if missing := re.match(r'json-pointer in "[^"#]*(#[^"]*)" not found', why):
        return f"{what} refers to {missing[1]}, which it does not have"
    return f"{what} cannot be used: {one_line(why, 400)}"


def _schema(found: Match) -> str:
    """List the values that the chart's schema refuses, each with its path."""
    chart, problems = "", []
    for line in found["rest"].splitlines():
        if problem := re.match(r"- at '(.*?)': (.*)", line.strip()):
            path = problem[1].strip("/").replace("/", ".") or "the top level"
            problems.append(f"{f'{chart}: ' if chart else ''}{path}: {problem[2]}")
        elif line.strip().endswith(":"):
            chart = line.strip()[:-1]
        elif line.strip():
            problems.append(f"{chart}: {line.strip()}")
    return f"The chart's schema refuses the values: {listed(problems)}"


def _not_in_registry(found: Match) -> str:
    """Say what does not exist; the registry answers alike for a chart that it lacks and for a version."""
    chart, _, version = (found["reference"] or "").rpartition(":")
    if not chart or "/" in version:
        return f"The registry has no chart {found['chart'] or found['reference']}"
    return f"The registry has no version {version} of the chart {chart}, or no such chart"


SKIP_SCHEMA = "set spec.skipSchemaValidation: true to deploy without checking the values against the chart's schema."
_LOADING = r"values don't meet the specifications.*?failing loading \"(?P<url>https?://[^\"\n]*)\": "
_NEEDS = "The chart's values.schema.json needs {url}, which"


_pull_row = partial(row, commands=("pull",))

CHART_ROWS: tuple[Row, ...] = (
    # -- fetching a chart: `helm pull` only, because other commands' errors look alike
    _pull_row(
        WITHHELD,
        Reason.CHART_SOURCE_UNAVAILABLE,
        "The chart cannot be fetched; helm's error is withheld, because it may quote the answer of a server",
        transient=True,
        hint="To see the error, run helm pull yourself, with the same repository or registry, chart and version.",
    ),
    _pull_row(
        NOT_CONNECTED,
        Reason.CHART_SOURCE_NOT_ALLOWED,
        lambda found: f"{_host(found)} is an address of the operator's own pod, which it may not call for a chart",
        transient=True,
        hint="Use a source whose index, redirects and login server have public addresses.",
    ),
    _pull_row(
        NO_CHART,
        Reason.CHART_INVALID,
        "The artifact with this reference in the registry is not a Helm chart",
        hint="Correct spec.chart.oci and spec.chart.version: the artifact may be an image.",
    ),
    _pull_row(
        rf"{BAD_LOGIN_SERVER}|{NO_ANSWER_OF_A_REGISTRY}",
        Reason.CHART_SOURCE_UNAVAILABLE,
        lambda found: f"{_host(found)}: {found[0]}",
        transient=True,
        hint="Check the address: a login page, or a server that is not a registry, also causes this.",
    ),
    _pull_row(
        r"x509: (?P<why>[^\n]+)",
        Reason.CERTIFICATE_NOT_TRUSTED,
        lambda found: f"The TLS certificate of {_host(found)} is not trusted: {found['why']}",
        hint=TRUST,
    ),
    _pull_row(
        r"first record does not look like a TLS handshake|server gave HTTP response to HTTPS client",
        Reason.CHART_SOURCE_UNAVAILABLE,
        lambda found: f"{_host(found)} does not speak TLS",
        hint=_HTTPS,
    ),
    _pull_row(
        r"(?:status code |: )(?P<code>401|403)\b|basic credential not found|(?i:unauthorized|access denied|denied:)",
        Reason.CHART_SOURCE_UNAUTHORIZED,
        lambda found: f"{_host(found)} refuses access to the chart ({found['code'] or 'login required'})",
        hint=_LOGIN,
    ),
    _pull_row(
        r'chart "(?P<chart>[^"]+)" version "(?P<version>[^"]+)" not found in (?P<where>\S+)',
        Reason.CHART_VERSION_NOT_FOUND,
        "The repository {where} has no version of chart {chart} that matches {version}",
        transient=True,
        hint=_VERSION,
    ),
    _pull_row(
        r'chart "(?P<chart>[^"]+)" not found in (?P<where>\S+)',
        Reason.CHART_NOT_FOUND,
        "The repository {where} has no chart {chart} with a stable version",
        hint="Set spec.chart.version to a range like >=0.0.0-0 if the chart has only pre-releases.",
    ),
    _pull_row(
        r"could not locate a version matching provided version string (?P<version>[^\n]+)",
        Reason.CHART_VERSION_NOT_FOUND,
        "The registry has no version of the chart that matches {version}",
        transient=True,
        hint=_VERSION,
    ),
    _pull_row(
        r"source: (?P<reference>\S+): not found|unable to locate any tags in provided repository: (?P<chart>\S+)",
        Reason.CHART_VERSION_NOT_FOUND,
        _not_in_registry,
        transient=True,
        hint="Correct spec.chart.version, or the reference in spec.chart.oci: the registry does not say which of the two it "
        "lacks. What is published later is found by a retry.",
    ),
    _pull_row(
        r"/v2/(?P<chart>\S{1,255})/tags/list\": response status code 404",
        Reason.CHART_NOT_FOUND,
        lambda found: f"The registry {_host(found)} has no chart {found['chart']}",
        transient=True,
    ),
    _pull_row(
        # Up to the end of its word, except a colon there, so that it is not searched again from each "http://" within it.
        r"(?P<url>https?://(?:[^\s\":]++|:(?![\s\"]|\Z))*+)\"? ?:? ?(?:response status code )?404\b",
        Reason.CHART_NOT_FOUND,
        "{url} does not exist (404)",
        hint="Check the address: the repository's index.yaml, or the chart in the registry, was not found.",
    ),
    _pull_row(
        r"(?:status code |: )(?P<code>429|5\d\d)\b",
        Reason.CHART_SOURCE_UNAVAILABLE,
        lambda found: f"{_host(found)} cannot serve the chart at the moment (status {found['code']})",
        transient=True,
    ),
    _pull_row(
        rf"(?P<why>dial tcp[^\n]+|{UNREACHABLE})",
        Reason.CHART_SOURCE_UNAVAILABLE,
        lambda found: f"{_host(found)} cannot be reached: {found['why'].removeprefix(': ')}",
        transient=True,
        hint=_DOWN,
    ),
    _pull_row(
        r'looks like "(?P<url>[^"]+)" is not a valid chart repository or cannot be reached: (?P<why>[^\n]+)',
        Reason.CHART_SOURCE_UNAVAILABLE,
        "{url} is not a chart repository: its index.yaml cannot be read ({why})",
        transient=True,
        hint="Check the address: a login or maintenance page in place of index.yaml causes this error too.",
    ),
    # -- the chart itself
    row(
        r"missing in charts/ directory: (?P<names>[^\n]+)",
        Reason.CHART_INVALID,
        "The chart's dependencies are missing in its charts/ folder: {names}",
        hint="Run helm dependency build in the chart, or use the packaged chart.",
    ),
    row(
        r"chart requires kubeVersion: (?P<wanted>[^\n]{1,200}?) which is incompatible with Kubernetes (?P<present>\S+)",
        Reason.CHART_INVALID,
        "The chart needs Kubernetes {wanted}; this cluster runs {present}",
    ),
    row(
        r"library charts are not installable",
        Reason.CHART_INVALID,
        "The chart is a library chart: other charts use it, it cannot be installed",
    ),
    row(
        r'^path "(?P<path>[^"]+)" not found',
        Reason.CHART_NOT_FOUND,
        "The cached chart is no longer available; it will be fetched again",
        transient=True,
    ),
    row(
        r"cannot load (?P<what>Chart\.yaml|Chart\.lock|requirements\.\w+|values\.yaml): (?P<why>.+)",
        Reason.CHART_INVALID,
        "The chart's {what} cannot be read: {why}",
    ),
    row(
        r"^(?P<why>validation: chart\.[^\n]+|Chart\.yaml file is missing|unable to (?:detect|load) chart[^\n]*|"
        r"file '[^']*' (?:does not appear|seems to be)[^\n]*|chart (?:illegally|contains|yaml not in)[^\n]*|"
        r"no files in chart archive|decompressed chart is larger[^\n]*|invalid chart apiVersion|"
        r"error unpacking subchart[^\n]*)",
        Reason.CHART_INVALID,
        "Helm cannot load the chart: {why}",
    ),
    # -- the chart's schema, and what helm fetches for it; `foreign` has worded these
    row(
        _LOADING + r"status (?P<code>404|410)\b",
        Reason.CHART_INVALID,
        f"{_NEEDS} does not exist ({{code}})",
        hint=f"Correct the address in the chart, or {SKIP_SCHEMA}",
    ),
    row(
        _LOADING + NOT_JSON,
        Reason.CHART_INVALID,
        f"{_NEEDS} is not JSON",
        hint=f"Check what is at the address, such as a login page, or {SKIP_SCHEMA}",
    ),
    row(
        _LOADING + NOT_TRUSTED,
        Reason.CERTIFICATE_NOT_TRUSTED,
        f"{_NEEDS} has a TLS certificate that is not trusted",
        hint=f"{TRUST} Or {SKIP_SCHEMA}",
    ),
    row(
        _LOADING + r"(?P<why>[^\n]+)",
        Reason.CHART_SOURCE_UNAVAILABLE,
        f"{_NEEDS} cannot be fetched: {{why}}",
        transient=True,
        hint=f"It is retried automatically. If the operator's pod may not reach the address, {SKIP_SCHEMA}",
    ),
    row(
        r"values don't meet the specifications.*?failing loading \"(?P<url>[^\"\n]*)\": ",
        Reason.CHART_INVALID,
        "The chart's values.schema.json, or what it refers to, needs {url}, which is neither http:// nor https://",
        hint=f"Correct the reference, or {SKIP_SCHEMA}",
    ),
    row(
        rf"values don't meet the specifications.*?\"(?P<url>https?://[^\"\n]*)\" {UNUSABLE}",
        Reason.CHART_INVALID,
        f"{_NEEDS} is not a JSON schema, or lacks the part that is referred to",
        hint=f"Correct the reference in the chart, or {SKIP_SCHEMA}",
    ),
    row(
        r"values don't meet the specifications[^\n]*\n(?:[^\n]*\n)*?"
        r"(?P<why>(?!\s*- at '|invalid type for values)[^\n]*[^\n:\s])$",
        Reason.CHART_INVALID,
        _unusable_schema,
        hint=f"Correct the chart's values.schema.json, or {SKIP_SCHEMA}",
    ),
    # -- values and templates
    row(
        r"values don't meet the specifications of the schema\(s\) in the following chart\(s\):(?P<rest>.*)",
        Reason.VALUES_REFUSED,
        _schema,
        hint="Correct these values; the chart's values.schema.json says what it accepts.",
    ),
    row(
        r"failed to parse (?P<source>[^\n]+?): (?:cannot unmarshal yaml document: )?"
        r"(?:error (?:converting YAML to JSON|unmarshaling JSON): )?(?:yaml: )?(?P<why>.+)|failed parsing --set[^\n]*",
        Reason.VALUES_INVALID,
        lambda found: (
            f"Helm cannot read {found['source']}: {found['why']}"
            if found["why"]
            else f"Helm cannot read spec.set: {found[0]}"
        ),
    ),
    row(
        r"error while running post render",
        Reason.HELM_FAILED,
        "The fields that are left to other managers could not be taken out of what the chart renders, so nothing was applied",
        transient=True,
        hint="An object with such a field may be too large to edit: split it in the chart, or remove spec.conflicts.leave.",
    ),
    row(
        r"execution error (?:at|in) \((?P<place>[^)]+)\): (?P<why>.+)",
        Reason.TEMPLATE_ERROR,
        "Template {place}: {why}",
        hint="Change the values as the message says: the chart checks for this itself.",
    ),
    row(
        r"parse error (?:at|in) \((?P<place>[^)]+)\): (?P<why>.+)",
        Reason.TEMPLATE_ERROR,
        "Template {place}: {why}",
        hint=template_errors.syntax_hint,
    ),
    row(
        r"error calling lookup:\s+[^\n]*?" + MISSING_PERMISSION,
        Reason.FORBIDDEN,
        lambda found: (
            f"{template_errors.place(found)} looks up an object, but user {found['user']} has no permission to"
            f" {permission(found)}"
        ),
        transient=True,
        hint=GRANT,
    ),
    # Only from the beginning of a word: searched from each of its characters, a long word costs its length squared.
    row(
        r"template: [^\s:]+:\d+(?::\d+)?: executing |(?<!\S)\S+:\d+:\d+\n\s+executing ",
        Reason.TEMPLATE_ERROR,
        template_errors.message,
        hint=template_errors.hint,
    ),
    row(
        r"YAML parse error on (?P<file>[^:\n]+): (?:error converting YAML to JSON: )?(?:yaml: )?(?P<why>.+)",
        Reason.TEMPLATE_ERROR,
        "Template {file} does not render valid YAML: {why}",
        hint="Run helm template --debug: the line number refers to the rendered output.",
    ),
    row(
        r"unable to decode \"[^\"]*\": (?P<why>json: cannot unmarshal (?P<got>\w+) into Go struct field (?P<field>[\w.]+) "
        r"of type (?P<wanted>\S+)|.+)",
        Reason.TEMPLATE_ERROR,
        template_errors.undecodable,
        hint=template_errors.undecodable_hint,
    ),
    row(
        r"^[^\n]*resource name may not be empty",
        Reason.TEMPLATE_ERROR,
        template_errors.nameless,
        hint=template_errors.NAME_NEEDED,
    ),
    row(
        r"(?P<why>invalid (?:resource name|namespace) \"[^\"\n]*\": \[[^\]\n]*\])",
        Reason.OBJECT_INVALID,
        lambda found: f"The chart renders an object that no cluster accepts: {one_line(found['why'], 400)}",
        hint="Correct the name in the values or in the chart.",
    ),
)
