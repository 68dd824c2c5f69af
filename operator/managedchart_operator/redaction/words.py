"""Words that are never masked, although a Secret may have them as a value.

Charts put users, modes and addresses into Secrets next to passwords. Masked in every text, they would make names and the API
server's sentences unreadable, and hide nothing: whoever guesses, begins with these.
"""

import re

MIN_SECRET_LENGTH = 5
"""Shorter values are never masked, since they occur in too many words."""
# A password of this length that consists of letters only is a word like "admin".
_SHORT_WORD = 5
# Ports, replicas, versions, addresses, sizes and durations: "27017", "1.27.3", "127.0.0.1", "512Mi", "3600s".
_MEASURE = re.compile(r"\d{1,5}|\d{1,6}(?:\.\d{1,6}){1,3}(?::\d{1,5})?|\d{1,6}(?:ms|[smhd%]|[kKMGT]i?B?)", re.ASCII)
_COMMON = frozenset(
    """
    accept account accounts active address admins administrator allow allowed always anonymous apiserver application apps/v1
    authentication authorization auto automatic backend backup basic bearer binding boolean bucket certificate
    certificates change client cluster clusterip cluster.local command common config configmap configuration connect connection
    console container containers content controller create created credential credentials cronjob custom daemonset data database
    debug default defaults delete denied deployment develop development disable disabled docker domain email enable
    enabled encryption endpoint engine error errors example example.com example.org exists expected external failed failure
    false field file filesystem forbidden format frontend gateway global grafana group header health healthy helm host
    hostname https ifnotpresent image images ingress in-cluster inactive index info ingress-nginx input install instance
    integer internal invalid issuer json keycloak kubernetes kubernetes.default kubernetes.default.svc kube-system label
    latest leader letsencrypt library listen loadbalancer local localhost logging login mailhog manage manager managed
    mariadb master member memory message metadata metrics minio missing mongodb monitoring mysql namespace network never
    nodeport normal number object opaque openid operator optional option options output package passwd password passwords
    path pending persistent plugin policy postgres postgresql prefer primary private prod production profile project prometheus
    protocol provider proxy public rabbitmq read-only readonly read-write ready redis region registry release replica replicas
    repository require required resource restart root running runtime sasl_ssl schema scheme secret secrets secure security
    selector server service serviceaccount session setting settings source staging standalone standard state statefulset static
    status storage string subject success succeeded support svc.cluster.local system target template terminated test testing
    testuser timeout token tokens transport trigger true trust type unauthorized unknown update upgrade us-east-1 user username
    users utf-8 value values version volume volumes waiting warning webhook worker workers yaml
    """.split()  # noqa: SIM905 -- a line each would be five pages
)


def is_common(value: str) -> bool:
    """Whether a value is too short or too common to be masked wherever it occurs."""
    return (
        len(value) < MIN_SECRET_LENGTH
        or (len(value) <= _SHORT_WORD and value.isalpha())
        or value.casefold() in _COMMON
        or _MEASURE.fullmatch(value) is not None
    )
