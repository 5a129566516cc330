{{- /* The pod, which the Deployment and the StatefulSet share. */}}
{{- define "relay.pod" -}}
metadata:
  labels:
    {{- include "relay.labels" . | nindent 4 }}
  annotations:
    # Another configuration is another pod.
    checksum/config: {{ .Values.config | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  automountServiceAccountToken: false
  # The variables of neighbours' addresses have no place among ours.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: { type: RuntimeDefault }
  containers:
    - name: claimr-relay
      image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve, --config, /etc/claimr-relay/relay.toml]
      env:
        {{- include "relay.env" . | nindent 8 }}
      envFrom:
        - secretRef: { name: {{ required "secret: name the Secret with the secrets" .Values.secret }} }
      ports:
        - { name: public, containerPort: 8080 }
        - { name: admin, containerPort: 8081 }
      lifecycle:
        # Nobody is sent here any more when the drain begins.
        preStop: { sleep: { seconds: {{ .Values.preStopSeconds }} } }
      # Ten minutes to read a large log.
      startupProbe:
        httpGet: { path: /healthz, port: admin }
        periodSeconds: 2
        failureThreshold: 300
      # Only a process that does not answer is restarted: a log that is ill is not mended by that, and sessions would be lost for nothing.
      livenessProbe:
        httpGet: { path: /healthz, port: admin }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      # It answers within 5 s, that the log hangs as well.
      readinessProbe:
        httpGet: { path: /readyz, port: admin }
        periodSeconds: 2
        timeoutSeconds: 6
        failureThreshold: 2
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
      volumeMounts:
        - { name: config, mountPath: /etc/claimr-relay, readOnly: true }
        - { name: data, mountPath: /var/lib/claimr-relay }
  volumes:
    - name: config
      configMap: { name: {{ include "relay.name" . }} }
    {{- if eq .Values.engine "nats" }}
    - name: data
      emptyDir: { sizeLimit: 16Mi }
    {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "relay.selector" . | nindent 10 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
