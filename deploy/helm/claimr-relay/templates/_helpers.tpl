{{- define "relay.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}-claimr-relay
{{- end }}

{{- define "relay.selector" -}}
app.kubernetes.io/name: claimr-relay
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "relay.labels" -}}
{{ include "relay.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* What the chart sets, over relay.toml. */}}
{{- define "relay.env" -}}
- { name: CLAIMR_RELAY__SERVER__LISTEN, value: "0.0.0.0:8080" }
- { name: CLAIMR_RELAY__SERVER__ADMIN_LISTEN, value: "0.0.0.0:8081" }
- { name: CLAIMR_RELAY__STORE__ENGINE, value: {{ .Values.engine | quote }} }
{{- if eq .Values.engine "nats" }}
- { name: CLAIMR_RELAY__STORE__NATS__URL, value: {{ .Values.nats.url | toJson | quote }} }
- { name: CLAIMR_RELAY__STORE__NATS__STREAM, value: {{ .Values.nats.stream | quote }} }
- { name: CLAIMR_RELAY__STORE__NATS__REPLICAS, value: {{ .Values.nats.replicas | int | quote }} }
{{- with .Values.nats.user }}
- { name: CLAIMR_RELAY__STORE__NATS__USER, value: {{ . | quote }} }
- { name: CLAIMR_RELAY__STORE__NATS__PASSWORD__ENV, value: NATS_PASSWORD }
{{- end }}
{{- else }}
- { name: CLAIMR_RELAY__STORE__PATH, value: /var/lib/claimr-relay/data }
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}
