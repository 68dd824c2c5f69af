"""Charts that cannot be had or read: repositories, registries, files."""

import json

from recording.recorder import Recorder, case, reply

# -- repositories


@case
def repository_refused(r: Recorder):
    return r.pull("web", repository="http://127.0.0.1:1")


@case
def repository_dns(r: Recorder):
    return r.pull("web", repository="https://charts.no-such-host.invalid/stable")


def _status(r: Recorder, status: int, **headers: str):
    return r.pull("web", repository=r.server(lambda request: reply(request, status, **headers)))


@case
def repository_401(r: Recorder):
    return _status(r, 401, WWW_Authenticate="Basic realm=x")


@case
def repository_403(r: Recorder):
    return _status(r, 403)


@case
def repository_404(r: Recorder):
    return _status(r, 404)


@case
def repository_429(r: Recorder):
    return _status(r, 429)


@case
def repository_500(r: Recorder):
    return _status(r, 500)


@case
def repository_503(r: Recorder):
    return _status(r, 503)


@case
def repository_hangs_up(r: Recorder):
    return r.pull("web", repository=r.server(lambda request: request.connection.close()))


@case
def repository_tls_unknown(r: Recorder):
    return r.pull("web", repository=r.server(lambda request: reply(request, 200), tls=True))


@case
def repository_tls_other_name(r: Recorder):
    url = r.server(lambda request: reply(request, 200), tls=True).replace("127.0.0.1", "localhost")
    return r.pull("web", repository=url)


@case
def repository_no_tls(r: Recorder):
    return r.pull("web", repository=r.server(lambda request: reply(request, 200)).replace("http:", "https:"))


@case
def repository_no_index(r: Recorder):
    return r.pull("web", repository=r.server(lambda request: reply(request, 200, b"<html>please log in</html>")))


@case
def repository_empty_index(r: Recorder):
    return r.pull("web", repository=r.server(lambda request: reply(request, 200)))


@case
def repository_chart_missing(r: Recorder):
    return r.pull("nothing", repository=r.repository())


@case
def repository_version_missing(r: Recorder):
    return r.pull("web", repository=r.repository(), version="9.9.9")


@case
def repository_constraint_unsatisfied(r: Recorder):
    return r.pull("web", repository=r.repository(), version=">=2 <3")


@case
def repository_constraint_invalid(r: Recorder):
    return r.pull("web", repository=r.repository(), version="not a version")


@case
def repository_archive_gone(r: Recorder):
    return r.pull("gone", repository=r.repository())


# -- registries


@case
def registry_refused(r: Recorder):
    return r.pull("oci://127.0.0.1:1/charts/web", version="1.2.3", plain=True)


@case
def registry_dns(r: Recorder):
    return r.pull("oci://registry.no-such-host.invalid/charts/web", version="1.2.3")


def _registry(r: Recorder, status: int, code: str = "", *, version: str | None = "1.2.3", **headers: str):
    body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode() if code else b""
    url = r.server(lambda request: reply(request, status, body, Content_Type="application/json", **headers))
    return r.pull(url.replace("http:", "oci:") + "/charts/web", version=version, plain=True)


@case
def registry_401(r: Recorder):
    return _registry(r, 401, "UNAUTHORIZED", WWW_Authenticate="Basic realm=x")


@case
def registry_403(r: Recorder):
    return _registry(r, 403, "DENIED")


@case
def registry_403_without_body(r: Recorder):
    return _registry(r, 403)


@case
def registry_404_name(r: Recorder):
    return _registry(r, 404, "NAME_UNKNOWN")


@case
def registry_404_manifest(r: Recorder):
    return _registry(r, 404, "MANIFEST_UNKNOWN")


@case
def registry_404_tags(r: Recorder):
    return _registry(r, 404, "NAME_UNKNOWN", version=">=1")


@case
def registry_503(r: Recorder):
    return _registry(r, 503)


@case
def registry_429(r: Recorder):
    return _registry(r, 429, "TOOMANYREQUESTS")


@case
def registry_tls_unknown(r: Recorder):
    url = r.server(lambda request: reply(request, 200), tls=True)
    return r.pull(url.replace("https:", "oci:") + "/charts/web", version="1.2.3")


@case
def registry_no_tls(r: Recorder):
    url = r.server(lambda request: reply(request, 200))
    return r.pull(url.replace("http:", "oci:") + "/charts/web", version="1.2.3")


@case
def registry_constraint_unsatisfied(r: Recorder):
    body = json.dumps({"name": "charts/web", "tags": ["1.0.0", "1.1.0"]}).encode()
    url = r.server(lambda request: reply(request, 200, body, Content_Type="application/json"))
    return r.pull(url.replace("http:", "oci:") + "/charts/web", version=">=2", plain=True)


# -- charts


@case
def chart_path_missing(r: Recorder):
    return r.upgrade(r.folder / "nothing", "default")


@case
def chart_yaml_missing(r: Recorder):
    chart = r.chart("")
    (chart / "Chart.yaml").unlink()
    return r.upgrade(chart, "default")


@case
def chart_yaml_invalid(r: Recorder):
    return r.upgrade(r.chart("", metadata="maintainers: x\n"), "default")


@case
def chart_version_invalid(r: Recorder):
    chart = r.chart("")
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: first\n")
    return r.upgrade(chart, "default")


@case
def chart_values_invalid(r: Recorder):
    return r.upgrade(r.chart("", values__yaml="a: [\n"), "default")


@case
def chart_archive_damaged(r: Recorder):
    file = r.folder / "damaged.tgz"
    file.write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\0hello")
    return r.upgrade(file, "default")


@case
def chart_archive_no_gzip(r: Recorder):
    file = r.folder / "text.tgz"
    file.write_text("hello")
    return r.upgrade(file, "default")


@case
def chart_dependency_missing(r: Recorder):
    metadata = "dependencies: [{name: common, version: 1.x, repository: 'https://charts.example'}]\n"
    return r.upgrade(r.chart("", metadata=metadata), "default")


@case
def chart_library(r: Recorder):
    return r.upgrade(r.chart("", metadata="type: library\n"), "default")


@case
def chart_kube_version(r: Recorder):
    return r.upgrade(r.chart("", metadata="kubeVersion: '>=1.99'\n"), "default")
