{{/*
The names are fixed, and not made from the release's name: one operator works on a whole cluster, so Helm refuses a second
installation, whose cluster-wide objects belong to the first release already. They are also the names in deploy/, so that an
installation made with kustomize can be adopted.
*/}}
{{- define "operator.name" -}}
managedchart-operator
{{- end }}

{{- define "operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "operator.name" . }}
{{- end }}

{{/* Of the pods: nothing in it changes with the chart's version alone, so an upgrade restarts the operator only if need be. */}}
{{- define "operator.podLabels" -}}
{{ include "operator.selectorLabels" . }}
app.kubernetes.io/part-of: managedchart
{{- end }}

{{- define "operator.labels" -}}
{{ include "operator.podLabels" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "operator.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* Which permissions to impersonate the profile `impersonate` gives: constrained, or the verb that older API servers know. */}}
{{- define "operator.impersonation" -}}
{{- if ne .Values.rbac.impersonation "auto" -}}
{{ .Values.rbac.impersonation }}
{{- else -}}
{{ semverCompare ">=1.36-0" .Capabilities.KubeVersion.Version | ternary "constrained" "legacy" }}
{{- end -}}
{{- end }}

{{/*
The settings as JSON, with those of the profile. In `impersonate` nothing runs as the operator, so an account is always set.
*/}}
{{- define "operator.settings" -}}
{{- $settings := deepCopy .Values.settings -}}
{{- if eq .Values.rbac.profile "impersonate" -}}
{{- $_ := set $settings "MANAGEDCHART_DEFAULT_SERVICE_ACCOUNT" ($settings.MANAGEDCHART_DEFAULT_SERVICE_ACCOUNT | default "default") -}}
{{- end -}}
{{- if and (ne .Values.rbac.profile "cluster-admin") (not $settings.MANAGEDCHART_CROSS_NAMESPACE) -}}
{{- $_ := set $settings "MANAGEDCHART_CROSS_NAMESPACE" "Consent" -}}
{{- end -}}
{{- if .Values.plugins.configMap -}}
{{- $_ := set $settings "MANAGEDCHART_PLUGIN_DIR" "/plugins" -}}
{{- end -}}
{{- toJson $settings -}}
{{- end }}
