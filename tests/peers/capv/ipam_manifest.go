// SPDX-License-Identifier: Apache-2.0

package main

const (
	ipamImage       = "registry.k8s.io/capi-ipam-ic/cluster-api-ipam-in-cluster-controller:v1.1.0"
	ipamNamespace   = "capi-ipam-in-cluster-system"
	ipamLabel       = "ipam-in-cluster"
	ipamPrefix      = "capi-ipam-in-cluster-"
	ipamService     = ipamPrefix + "webhook-service"
	ipamCertificate = ipamPrefix + "serving-cert"
	ipamCertSecret  = ipamPrefix + "webhook-service-cert"
	ipamAccount     = ipamPrefix + "controller-manager"
)

func ipamObject(kind, apiVersion, namespace, name string, more ...doc) doc {
	o := named(kind, apiVersion, namespace, name, more...)
	o["metadata"].(doc)["labels"] = doc{"cluster.x-k8s.io/provider": ipamLabel}
	return o
}

func ipamAccess() []doc {
	const rbac = "rbac.authorization.k8s.io/v1"
	subject := []any{doc{"kind": "ServiceAccount", "name": ipamAccount, "namespace": ipamNamespace}}
	ref := func(kind, name string) doc {
		return doc{"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
	}
	return []doc{
		ipamObject("ServiceAccount", "v1", ipamNamespace, ipamAccount),
		ipamObject("ClusterRole", rbac, "", ipamPrefix+"manager-role", doc{"rules": []any{
			rbacRule("cluster.x-k8s.io", "clusters", "get list watch"),
			rbacRule(ipamGroup, "inclusterippools ipaddresses", "create delete get list patch update watch"),
			rbacRule(ipamGroup, "inclusterippools/finalizers ipaddressclaims/finalizers ipaddresses/finalizers", "update"),
			rbacRule(ipamGroup, "inclusterippools/status ipaddressclaims/status ipaddresses/status", "get patch update"),
			rbacRule(ipamGroup, "ipaddressclaims", "get list patch update watch"),
		}}),
		ipamObject("ClusterRoleBinding", rbac, "", ipamPrefix+"manager-rolebinding",
			doc{"roleRef": ref("ClusterRole", ipamPrefix+"manager-role"), "subjects": subject}),
		ipamObject("Role", rbac, ipamNamespace, ipamPrefix+"leader-election-role", doc{"rules": []any{
			rbacRule(`""`, "configmaps", "get list watch create update patch delete"),
			rbacRule("coordination.k8s.io", "leases", "get list watch create update patch delete"),
			rbacRule(`""`, "events", "create patch"),
		}}),
		ipamObject("RoleBinding", rbac, ipamNamespace, ipamPrefix+"leader-election-rolebinding",
			doc{"roleRef": ref("Role", ipamPrefix+"leader-election-role"), "subjects": subject}),
	}
}

// As the release has it: no toleration of the control plane's taint.
func ipamDeployment() doc {
	labels := doc{"cluster.x-k8s.io/provider": ipamLabel, "control-plane": "controller-manager"}
	probe := func(path string) doc {
		return doc{"httpGet": doc{"path": path, "port": 8081}}
	}
	d := ipamObject("Deployment", "apps/v1", ipamNamespace, ipamAccount, doc{"spec": doc{
		"replicas": 1, "selector": doc{"matchLabels": labels},
		"template": doc{
			"metadata": doc{"labels": labels},
			"spec": doc{
				"containers": []any{doc{
					"name": "manager", "image": ipamImage, "imagePullPolicy": "IfNotPresent",
					"command": []any{"/manager"}, "args": []any{"ipam-manager", "--leader-elect"},
					"ports":         []any{doc{"containerPort": 9443, "name": "webhook-server", "protocol": "TCP"}},
					"livenessProbe": probe("/healthz"), "readinessProbe": probe("/readyz"),
					"env": []any{doc{"name": "POD_NAMESPACE", "valueFrom": doc{
						"fieldRef": doc{"fieldPath": "metadata.namespace"}}}},
					"securityContext": doc{
						"allowPrivilegeEscalation": false, "capabilities": doc{"drop": []any{"ALL"}},
						"runAsGroup": 65532, "runAsUser": 65532,
					},
					"volumeMounts": []any{doc{
						"mountPath": "/tmp/k8s-webhook-server/serving-certs", "name": "cert", "readOnly": true,
					}},
				}},
				"securityContext":               doc{"runAsNonRoot": true},
				"serviceAccountName":            ipamAccount,
				"terminationGracePeriodSeconds": 10,
				"volumes":                       []any{doc{"name": "cert", "secret": doc{"secretName": ipamCertSecret}}},
			},
		},
	}})
	d["metadata"].(doc)["labels"] = labels
	return d
}

// ipamComponents is the provider's ipam-components.yaml.
func ipamComponents() []doc {
	hooks := ipamObject("ValidatingWebhookConfiguration", "admissionregistration.k8s.io/v1", "",
		ipamPrefix+"validating-webhook-configuration", doc{"webhooks": []any{doc{
			"name":                    "validation.inclusterippool." + ipamGroup,
			"admissionReviewVersions": []any{"v1", "v1beta1"},
			"clientConfig": doc{"service": doc{
				"name": ipamService, "namespace": ipamNamespace, "path": poolHookPath,
			}},
			"failurePolicy": "Fail", "matchPolicy": "Equivalent", "sideEffects": "None",
			"rules": []any{doc{
				"apiGroups": []any{ipamGroup}, "apiVersions": []any{poolVersion.Version},
				"operations": []any{"CREATE", "UPDATE", "DELETE"}, "resources": []any{"inclusterippools"},
			}},
		}}})
	hooks["metadata"].(doc)["annotations"] = doc{injectCA: ipamNamespace + "/" + ipamCertificate}
	all := []doc{ipamObject("Namespace", "v1", "", ipamNamespace), poolDefinition()}
	all = append(all, ipamAccess()...)
	return append(all,
		ipamObject("Service", "v1", ipamNamespace, ipamService, doc{"spec": doc{
			"ports":    []any{doc{"port": 443, "targetPort": "webhook-server"}},
			"selector": doc{"cluster.x-k8s.io/provider": ipamLabel},
		}}),
		ipamDeployment(),
		ipamObject("Certificate", "cert-manager.io/v1", ipamNamespace, ipamCertificate, doc{"spec": doc{
			"dnsNames": []any{
				ipamService + "." + ipamNamespace + ".svc", ipamService + "." + ipamNamespace + ".svc.cluster.local",
			},
			"issuerRef":  doc{"kind": "Issuer", "name": ipamPrefix + "selfsigned-issuer"},
			"secretName": ipamCertSecret,
		}}),
		ipamObject("Issuer", "cert-manager.io/v1", ipamNamespace, ipamPrefix+"selfsigned-issuer",
			doc{"spec": doc{"selfSigned": doc{}}}),
		hooks)
}

const ipamMetadataYAML = `apiVersion: clusterctl.cluster.x-k8s.io/v1alpha3
kind: Metadata
releaseSeries:
- major: 1
  minor: 1
  contract: v1beta2
`
