"""Values that are refused, and templates that do not render."""

import json
import shutil
import subprocess
import time
from http.server import BaseHTTPRequestHandler

from managedchart_operator.helm import post_renderer
from managedchart_operator.helm.memory_files import FileArgument, memory_files
from recording.manifests import configmap, job
from recording.recorder import CHARTS, Recorder, case, reply


@case
def schema_refused(r: Recorder):
    values = {"replicas": "three", "port": 70000, "podAnnotations": {"a": 1}}
    return r.upgrade(CHARTS / "web", "default", values=values)


@case
def schema_refused_in_subchart(r: Recorder):
    chart = r.chart(configmap())
    shutil.copytree(CHARTS / "web", chart / "charts" / "sub")
    (chart / "charts" / "sub" / "Chart.yaml").write_text("apiVersion: v2\nname: sub\nversion: 1.0.0\n")
    return r.upgrade(chart, "default", values={"sub": {"replicas": -1}})


@case
def schema_required(r: Recorder):
    schema = json.dumps(
        {"type": "object", "required": ["host"], "additionalProperties": False, "properties": {"host": {}}}
    )
    return r.upgrade(r.chart(configmap(), values__schema__json=schema), "default", values={"hosst": 1})


@case
def schema_invalid(r: Recorder):
    return r.upgrade(r.chart(configmap(), values__schema__json="{"), "default")


@case
def schema_no_schema(r: Recorder):
    return r.upgrade(r.chart(configmap(), values__schema__json='{"type": "text"}'), "default")


@case
def schema_part_missing(r: Recorder):
    return r.upgrade(r.chart(configmap(), values__schema__json='{"$ref": "#/$defs/nothing"}'), "default")


def _reference(r: Recorder, url: str, part: str = ""):
    """A chart whose schema needs something at an address."""
    schema = json.dumps({"properties": {"a": {"$ref": f"{url}/config.json?token=s3cret{part}"}}})
    return r.upgrade(r.chart(configmap(), values__schema__json=schema), "default", values={"a": "b"})


def _answer(r: Recorder, status: int, body: bytes = b"", part: str = "", **headers: str):
    return _reference(r, r.server(lambda request: reply(request, status, body, **headers)), part)


@case
def schema_reference_refused(r: Recorder):
    return _reference(r, "http://127.0.0.1:1")


@case
def schema_reference_dns(r: Recorder):
    return _reference(r, "https://me:s3cret@schemas.no-such-host.invalid")


@case
def schema_reference_404(r: Recorder):
    return _answer(r, 404, b"s3cret")


@case
def schema_reference_403(r: Recorder):
    return _answer(r, 403, b"s3cret")


@case
def schema_reference_500(r: Recorder):
    return _answer(r, 500, b"s3cret")


@case
def schema_reference_redirected(r: Recorder):
    return _answer(r, 302, Location="http://127.0.0.1:1/s3cret")


@case
def schema_reference_timeout(r: Recorder):
    return _reference(r, r.server(lambda request: time.sleep(20)))


@case
def schema_reference_hangs_up(r: Recorder):
    return _reference(r, r.server(lambda request: request.connection.close()))


@case
def schema_reference_speaks_otherwise(r: Recorder):
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"SSH-2.0-s3cret\r\n")

    return _reference(r, r.server(answer))


@case
def schema_reference_tls_unknown(r: Recorder):
    return _reference(r, r.server(lambda request: reply(request, 200), tls=True))


@case
def schema_reference_no_tls(r: Recorder):
    return _reference(r, r.server(lambda request: reply(request, 200)).replace("http:", "https:"))


@case
def schema_reference_no_json(r: Recorder):
    return _answer(r, 200, b"<html>s3cret</html>")


@case
def schema_reference_empty(r: Recorder):
    return _answer(r, 200)


@case
def schema_reference_cut_off(r: Recorder):
    return _answer(r, 200, b'{"type": "obj')


@case
def schema_reference_no_schema(r: Recorder):
    return _answer(r, 200, b'{"pattern": "(s3cret", "type": "s3cret"}')


@case
def schema_reference_part_missing(r: Recorder):
    return _answer(r, 200, b"{}", part="#/$defs/config")


@case
def schema_reference_to_a_file(r: Recorder):
    return _answer(r, 200, b'{"$ref": "file:///etc/passwd"}')


@case
def schema_reference_refuses(r: Recorder):
    return _answer(r, 200, b'{"type": "integer"}')


@case
def values_invalid(r: Recorder):
    broken = FileArgument("--values", b"a: [\n", "spec.yamlFilesContent[0] (extra.yaml)")
    with memory_files([str(r.bin / "helm"), *r.upgrade_arguments(CHARTS / "web", "default"), broken]) as files:
        process = subprocess.run(
            files.arguments, pass_fds=tuple(files.origins), capture_output=True, check=False,
            env={"HOME": str(r.folder), "KUBECONFIG": str(r.kubeconfig)},
        )  # fmt: skip
    return process.returncode, files.with_origins(process.stderr.decode())


@case
def post_renderer_failed(r: Recorder):
    arguments = r.upgrade_arguments(CHARTS / "web", "default", f"--post-renderer={post_renderer.NAME}")
    plugins = {"HELM_PLUGINS": str(post_renderer.PLUGINS), post_renderer.PYTHON: "/usr/bin/false"}
    return r.helm(arguments, **plugins)


def _broken(r: Recorder, how: str):
    return r.upgrade(CHARTS / "broken-template", "default", values={"how": how})


@case
def template_required(r: Recorder):
    return _broken(r, "required")


@case
def template_nil(r: Recorder):
    return _broken(r, "nil")


@case
def template_fail(r: Recorder):
    return _broken(r, "fail")


@case
def template_yaml(r: Recorder):
    return _broken(r, "yaml")


@case
def template_nested(r: Recorder):
    templates = {
        "_helpers.tpl": '{{ define "web.name" }}\n{{ .Values.a.b.c }}{{ end }}',
        "a.yaml": 'a: {{ include "web.name" . }}',
    }
    return r.upgrade(r.chart(templates), "default")


@case
def template_syntax(r: Recorder):
    return r.upgrade(r.chart("a: {{ if }}\n"), "default")


@case
def template_no_function(r: Recorder):
    return r.upgrade(r.chart("a: {{ nothing .Values }}\n"), "default")


@case
def template_no_include(r: Recorder):
    return r.upgrade(r.chart('a: {{ include "nothing" . }}\n'), "default")


@case
def template_no_include_in_tpl(r: Recorder):
    templates = {
        "_helpers.tpl": '{{ define "web.labels" }}\n{{ tpl .Values.labels . }}\n{{ end }}',
        "a.yaml": 'a: {{ include "web.labels" . | nindent 2 }}',
    }
    values = {"labels": '{{ include "common.labels" . }}\napp: ' + "a" * 200}
    return r.upgrade(r.chart(templates), "default", values=values)


@case
def template_tpl_syntax(r: Recorder):
    return r.upgrade(r.chart("a: {{ tpl .Values.text . }}\n"), "default", values={"text": "{{ nothing .Values }}"})


@case
def template_tpl_nil(r: Recorder):
    return r.upgrade(r.chart("a: {{ tpl .Values.text . }}\n"), "default", values={"text": "{{ .Values.a.b }}"})


@case
def template_template_missing(r: Recorder):
    return r.upgrade(r.chart('a: {{ template "nothing" . }}\n'), "default")


@case
def template_wrong_type(r: Recorder):
    return r.upgrade(r.chart("a: {{ index .Values.list 3 }}\n"), "default", values={"list": [1]})


@case
def manifest_without_kind(r: Recorder):
    return r.upgrade(r.chart("a: 1\n"), r.namespace())


@case
def manifest_without_name(r: Recorder):
    return r.upgrade(r.chart("apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n"), r.namespace())


@case
def manifest_with_generate_name(r: Recorder):
    return r.upgrade(r.chart(configmap() + configmap().replace("name: web", "generateName: web-")), r.namespace())


@case
def manifest_with_boolean_label(r: Recorder):
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: flag, labels: {enabled: y}}\n"
    return r.upgrade(r.chart({"a.yaml": configmap(), "b.yaml": text}), r.namespace())


@case
def manifest_with_number_annotation(r: Recorder):
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: flag, annotations: {port: 8080}}\n"
    return r.upgrade(r.chart(text), r.namespace())


@case
def hook_with_boolean_label(r: Recorder):
    text = job("pre", hook="pre-install").replace("name: pre", "name: pre\n  labels: {enabled: on}")
    return r.upgrade(r.chart(text), r.namespace())


@case
def hook_without_name(r: Recorder):
    return r.upgrade(r.chart(job("", hook="pre-install")), r.namespace())


@case
def hook_of_an_unknown_kind(r: Recorder):
    text = "apiVersion: test.managedchart.dev/v1\nkind: Widget\n"
    hooked = 'metadata: {name: pre, annotations: {"helm.sh/hook": pre-install}}\n'
    return r.upgrade(r.chart(text + hooked), r.namespace())
