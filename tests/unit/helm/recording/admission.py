"""Refusals by quotas, policies and webhooks, and releases that are too large."""

import base64
import json
import os
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

from recording.manifests import configmap
from recording.recorder import Recorder, case, reply


@case
def quota_exceeded(r: Recorder):
    ns = r.namespace()
    r.apply("apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: few}\nspec: {hard: {configmaps: '2'}}\n", ns)
    r.kubectl("wait", "-n", ns, "resourcequota/few", "--for=jsonpath={.status.hard.configmaps}=2")
    return r.upgrade(r.chart(configmap("one") + configmap("two")), ns)


POD = """apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers: [{name: web, image: "web:1", resources: {requests: {cpu: "4"}, limits: {cpu: "4"}}}]
"""


@case
def limit_range(r: Recorder):
    ns = r.namespace()
    r.apply(
        "apiVersion: v1\nkind: LimitRange\nmetadata: {name: small}\nspec: {limits: [{type: Container, max: {cpu: '1'}}]}\n",
        ns,
    )
    return r.upgrade(r.chart(POD), ns)


@case
def pod_security(r: Recorder):
    ns = r.namespace()
    r.kubectl("label", "namespace", ns, "pod-security.kubernetes.io/enforce=restricted")
    return r.upgrade(r.chart(POD), ns)


@case
def policy_denied(r: Recorder):
    ns = r.namespace()
    r.apply(
        f"""apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {ns}}}
spec:
  matchConstraints:
    resourceRules: [{{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}}]
  validations: [{{expression: "has(object.metadata.labels.team)", message: "objects need a label team"}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {ns}}}
spec:
  policyName: {ns}
  validationActions: [Deny]
  matchResources: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {ns}}}}}}}
"""
    )
    chart = r.chart(configmap())
    for _ in range(50):
        # The API server learns of a policy a moment later.
        code, text = r.upgrade(chart, ns)
        if code:
            break
        r.helm(["uninstall", "web", f"--namespace={ns}"])
    return code, text


def _webhook(r: Recorder, client: str, *, kind: str = "Validating", timeout: int = 1) -> str:
    ns = r.namespace()
    r.apply(
        f"""apiVersion: admissionregistration.k8s.io/v1
kind: {kind}WebhookConfiguration
metadata: {{name: {ns}}}
webhooks:
- name: policy.test.managedchart.dev
  admissionReviewVersions: [v1]
  sideEffects: None
  timeoutSeconds: {timeout}
  clientConfig: {client}
  rules: [{{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}}]
  namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {ns}}}}}
"""
    )
    time.sleep(2)
    return ns


def _at(r: Recorder, url: str) -> str:
    authority = base64.b64encode(r.certificate()[0].read_bytes()).decode()
    return f"{{url: '{url}/validate', caBundle: {authority}}}"


def _review(request: BaseHTTPRequestHandler, response: dict[str, Any]) -> None:
    review = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
    review["response"] = {"uid": review["request"]["uid"], **response}
    reply(request, 200, json.dumps(review).encode(), Content_Type="application/json")


@case
def webhook_denied(r: Recorder):
    denied = {"allowed": False, "status": {"code": 403, "message": "images must come from registry.internal"}}
    url = r.server(lambda request: _review(request, denied), tls=True)
    return r.upgrade(r.chart(configmap()), _webhook(r, _at(r, url)))


@case
def webhook_denied_without_reason(r: Recorder):
    url = r.server(lambda request: _review(request, {"allowed": False}), tls=True)
    return r.upgrade(r.chart(configmap()), _webhook(r, _at(r, url)))


@case
def webhook_refused(r: Recorder):
    return r.upgrade(r.chart(configmap()), _webhook(r, _at(r, "https://127.0.0.1:1"), kind="Mutating"))


@case
def webhook_timeout(r: Recorder):
    url = r.server(lambda _: time.sleep(5), tls=True)
    return r.upgrade(r.chart(configmap()), _webhook(r, _at(r, url)))


@case
def webhook_untrusted(r: Recorder):
    url = r.server(lambda request: _review(request, {"allowed": True}), tls=True)
    return r.upgrade(r.chart(configmap()), _webhook(r, f"{{url: '{url}/validate'}}"))


@case
def webhook_error(r: Recorder):
    url = r.server(lambda request: reply(request, 500, b"boom"), tls=True)
    return r.upgrade(r.chart(configmap()), _webhook(r, _at(r, url)))


@case
def webhook_service_missing(r: Recorder):
    return r.upgrade(
        r.chart(configmap()), _webhook(r, "{service: {name: policy, namespace: default, path: /validate}}")
    )


@case
def release_too_large(r: Recorder):
    return r.upgrade(r.chart(configmap(), blob=base64.b64encode(os.urandom(1_400_000))), r.namespace())


@case
def release_far_too_large(r: Recorder):
    return r.upgrade(r.chart(configmap(), blob=base64.b64encode(os.urandom(5_000_000))), r.namespace())


@case
def object_too_large(r: Recorder):
    return r.upgrade(r.chart(configmap(data='{a: "{{ repeat 2000000 "x" }}"}')), r.namespace())
