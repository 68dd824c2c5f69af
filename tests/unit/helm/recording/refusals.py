"""What the API server refuses: ownership, conflicts, rights, immutable fields."""

from recording.manifests import SECRETS, SERVICE, STATEFUL_SET, configmap, deployment, job
from recording.recorder import CHARTS, Recorder, case

# A CRD among the templates: helm never applies those in crds/ folders.
GADGETS = CHARTS / "cluster-objects" / "crds" / "gadgets.yaml"


@case
def owned_by_nobody(r: Recorder):
    ns = r.namespace()
    r.apply(configmap(), ns)
    return r.upgrade(r.chart(configmap()), ns)


@case
def owned_by_another_release(r: Recorder):
    ns = r.namespace()
    r.upgrade(r.chart(configmap()), ns, release="first")
    return r.upgrade(r.chart(configmap()), ns)


@case
def owned_by_nobody_cluster_wide(r: Recorder):
    role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: owned}\nrules: []\n"
    r.apply(role)
    return r.upgrade(r.chart(role), r.namespace())


@case
def field_conflict(r: Recorder):
    ns = r.namespace()
    r.kubectl("create", "configmap", "web", "--from-literal=a=x", "--from-literal=c=x", "-n", ns)
    return r.upgrade(r.chart(configmap(data="{a: b, c: d}")), ns, take_ownership=True)


@case
def field_conflict_with_kubectl_apply(r: Recorder):
    ns = r.namespace()
    chart = r.chart(deployment(extra="replicas: 1"))
    r.upgrade(chart, ns, wait=False)
    r.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=autoscaler", "-n", ns, "-f", "-",
              stdin="apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n")  # fmt: skip
    (chart / "templates" / "objects.yaml").write_text(deployment(extra="replicas: 2"))
    return r.upgrade(chart, ns)


@case
def unknown_field(r: Recorder):
    return r.upgrade(r.chart(deployment(extra="replicaz: 1")), r.namespace())


@case
def unknown_field_on_dry_run(r: Recorder):
    return r.upgrade(r.chart(deployment(extra="replicaz: 1")), r.namespace(), dry_run=True)


@case
def wrong_type(r: Recorder):
    return r.upgrade(r.chart(deployment(extra="replicas: many")), r.namespace())


@case
def wrong_types(r: Recorder):
    extra = 'replicas: "2"\n  revisionHistoryLimit: "5"'
    return r.upgrade(r.chart(deployment(extra=extra) + deployment("other", extra="replicas: many")), r.namespace())


@case
def unknown_fields_on_upgrade(r: Recorder):
    before = deployment() + deployment("other") + configmap("third")
    after = deployment(extra="replicaz: 1") + deployment("other", extra="replicas: many") + configmap("third", "{a: 1}")
    return r.changed(before, after)


@case
def wrong_type_and_unknown_field(r: Recorder):
    return r.upgrade(r.chart(deployment(extra='replicaz: 1\n  minReadySeconds: "5"')), r.namespace())


@case
def duplicate_env(r: Recorder):
    env = "containers: [{env: [{name: PATH_A, value: a}, {name: PATH_A, value: b}, {name: B, value: a}, {name: B}], "
    return r.upgrade(r.chart(deployment().replace("containers: [{", env)), r.namespace())


@case
def object_invalid(r: Recorder):
    return r.upgrade(r.chart(deployment(extra="replicas: -1") + configmap("Web_1")), r.namespace())


@case
def selector_mismatch(r: Recorder):
    text = deployment().replace("labels: {app: web}", "labels: {app: other}", 1)
    return r.upgrade(r.chart(text), r.namespace())


@case
def namespace_missing(r: Recorder):
    return r.upgrade(r.chart(configmap()), "no-such-namespace")


@case
def namespace_missing_for_an_object(r: Recorder):
    text = configmap().replace("name: web", "name: web\n  namespace: elsewhere")
    return r.upgrade(r.chart(text), r.namespace())


def _terminating(r: Recorder) -> str:
    ns = r.namespace()
    r.apply(configmap("kept").replace("name: kept", "name: kept\n  finalizers: [test.managedchart.dev/kept]"), ns)
    r.kubectl("delete", "namespace", ns, "--wait=false")
    return ns


@case
def namespace_terminating(r: Recorder):
    return r.upgrade(r.chart(configmap()), _terminating(r))


@case
def namespace_of_an_object_terminating(r: Recorder):
    other = _terminating(r)
    text = configmap().replace("name: web", f"name: web\n  namespace: {other}")
    return r.upgrade(r.chart(text), r.namespace())


@case
def forbidden_storage(r: Recorder):
    ns = r.namespace()
    return r.upgrade(r.chart(configmap()), ns, *r.user(ns, "[]"))


@case
def forbidden_object(r: Recorder):
    ns = r.namespace()
    as_user = r.user(ns, f'[{SECRETS}, {{apiGroups: [""], resources: [configmaps], verbs: [get]}}]')
    return r.upgrade(r.chart(configmap()), ns, *as_user)


@case
def forbidden_look(r: Recorder):
    ns = r.namespace()
    return r.upgrade(r.chart(configmap()), ns, *r.user(ns, f"[{SECRETS}]"))


@case
def forbidden_lookup(r: Recorder):
    ns = r.namespace()
    template = '{{ (lookup "v1" "Secret" "kube-system" "cloud").data }}'
    return r.upgrade(r.chart(template), ns, *r.user(ns, f"[{SECRETS}]"))


@case
def forbidden_cluster_wide(r: Recorder):
    ns = r.namespace()
    role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: forbidden}\nrules: []\n"
    return r.upgrade(r.chart(role), ns, *r.user(ns, f"[{SECRETS}]"))


@case
def forbidden_namespace(r: Recorder):
    ns = r.namespace()
    as_user = r.user(ns, f"[{SECRETS}]", everywhere=True)
    return r.upgrade(r.chart(configmap()), "new-one", *as_user, create_namespace=True)


@case
def forbidden_crd(r: Recorder):
    ns = r.namespace()
    return r.upgrade(r.chart(GADGETS.read_text()), ns, *r.user(ns, f"[{SECRETS}]"))


@case
def crd_invalid(r: Recorder):
    return r.upgrade(r.chart(GADGETS.read_text().replace("name: gadgets.test", "name: wrong.test")), r.namespace())


@case
def forbidden_escalation(r: Recorder):
    ns = r.namespace()
    rules = '{apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: ["get", "create", "patch"]}'
    role = (
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: more}\n"
        'rules: [{apiGroups: [""], resources: [pods], verbs: [delete]}]\n'
    )
    return r.upgrade(r.chart(role), ns, *r.user(ns, f"[{SECRETS}, {rules}]"))


@case
def kind_missing(r: Recorder):
    return r.upgrade(CHARTS / "cluster-objects", r.namespace(), values={"unknownKind": True})


@case
def kind_missing_version(r: Recorder):
    return r.upgrade(r.chart(deployment().replace("apps/v1", "apps/v1beta1")), r.namespace())


@case
def kinds_missing(r: Recorder):
    widget = "apiVersion: test.managedchart.dev/v1\nkind: Widget\nmetadata: {name: NAME}\n---\n"
    other = "apiVersion: other.managedchart.dev/v1\nkind: Gear\nmetadata: {name: gear}\n---\n"
    return r.upgrade(r.chart(widget.replace("NAME", "a") + widget.replace("NAME", "b") + other), r.namespace())


@case
def kind_removed(r: Recorder):
    policy = "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata: {name: psp}\n---\n"
    return r.upgrade(r.chart(policy), r.namespace())


@case
def kinds_removed_and_missing(r: Recorder):
    ingress = "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: web}\n---\n"
    gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gate}\n---\n"
    return r.upgrade(r.chart(ingress + gateway), r.namespace())


@case
def immutable_selector(r: Recorder):
    return r.changed(deployment(selector="a"), deployment(selector="b"))


@case
def immutable_selectors(r: Recorder):
    before, after = (deployment(selector=each) + deployment("other", selector=each) for each in "ab")
    return r.changed(before, after)


@case
def immutable_job(r: Recorder):
    return r.changed(job(), job(image="registry.example/task:2.0"))


@case
def immutable_configmap(r: Recorder):
    return r.changed(
        configmap().replace("---", "immutable: true\n---"),
        configmap(data="{a: c}").replace("---", "immutable: true\n---"),
    )


@case
def immutable_stateful_set(r: Recorder):
    return r.changed(STATEFUL_SET.replace("NAME", "a"), STATEFUL_SET.replace("NAME", "b"))


@case
def immutable_stateful_set_spec(r: Recorder):
    before = STATEFUL_SET.replace("NAME", "a")
    return r.changed(before, before.replace("serviceName", "podManagementPolicy: Parallel\n  serviceName"))


@case
def port_taken(r: Recorder):
    ns = r.namespace()
    service = SERVICE.replace("clusterIP: IP", "type: NodePort").replace("port: 80", "port: 80, nodePort: 30123")
    r.apply(service.replace("name: web", "name: first"), ns)
    return r.upgrade(r.chart(service), ns)


@case
def object_being_deleted(r: Recorder):
    ns = r.namespace()
    text = configmap().replace("name: web", "name: web\n  finalizers: [test.managedchart.dev/kept]")
    r.upgrade(r.chart(text), ns)
    r.kubectl("delete", "configmap", "web", "-n", ns, "--wait=false")
    return r.upgrade(r.chart(configmap(data="{a: c}")), ns)


@case
def immutable_cluster_ip(r: Recorder):
    return r.changed(
        SERVICE.replace("IP: IP", "IP: None"),
        SERVICE.replace("clusterIP: IP", "type: ClusterIP\n  clusterIP: 10.0.0.77"),
    )


@case
def immutable_client_side(r: Recorder):
    return r.changed(STATEFUL_SET.replace("NAME", "a"), STATEFUL_SET.replace("NAME", "b"), force_replace=True)
