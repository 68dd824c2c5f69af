"""Objects of which the cases make their charts."""

FAIL = "devcluster.managedchart.dev/fail"
SECRETS = '{apiGroups: [""], resources: [secrets], verbs: ["*"]}'


def configmap(name: str = "web", data: str = "{a: b}") -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata: {data}\n---\n"


def deployment(name: str = "web", *, fail: str = "", selector: str = "web", extra: str = "") -> str:
    annotations = f"annotations: {{{FAIL}: {fail}}}" if fail else ""
    return f"""apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  {extra}
  selector: {{matchLabels: {{app: {selector}}}}}
  template:
    metadata:
      labels: {{app: {selector}}}
      {annotations}
    spec:
      containers: [{{name: web, image: "registry.example/web:1.0"}}]
---
"""


def job(name: str = "job", *, fail: str = "", image: str = "registry.example/task:1.0", hook: str = "") -> str:
    metadata = f'annotations: {{"helm.sh/hook": {hook}}}' if hook else ""
    annotations = f"metadata: {{annotations: {{{FAIL}: {fail}}}}}" if fail else ""
    return f"""apiVersion: batch/v1
kind: Job
metadata:
  name: {name}
  {metadata}
spec:
  backoffLimit: 0
  template:
    {annotations}
    spec:
      restartPolicy: Never
      containers: [{{name: task, image: "{image}"}}]
---
"""


STATEFUL_SET = """apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: NAME
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "registry.example/web:1.0"}]
"""
SERVICE = """apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: IP
  selector: {app: web}
  ports: [{port: 80}]
"""
