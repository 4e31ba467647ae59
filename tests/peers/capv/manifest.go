// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	namespaceName = "capv-system"
	providerLabel = "infrastructure-vsphere"
	injectCA      = "cert-manager.io/inject-ca-from"
	certificate   = "capv-serving-cert"
	certSecret    = "capv-webhook-service-cert"
	webhookName   = "capv-webhook-service"
)

func named(kind, apiVersion, namespace, name string, more ...doc) doc {
	metadata := doc{"name": name, "labels": doc{"cluster.x-k8s.io/provider": providerLabel}}
	if namespace != "" {
		metadata["namespace"] = namespace
	}
	o := doc{"apiVersion": apiVersion, "kind": kind, "metadata": metadata}
	for _, m := range more {
		for key, value := range m {
			o[key] = value
		}
	}
	return o
}

func rbacRule(groups, resources, verbs string) doc {
	list := func(text string) []any {
		all := []any{}
		for _, word := range strings.Split(text, " ") {
			if word == `""` {
				word = ""
			}
			all = append(all, word)
		}
		return all
	}
	return doc{"apiGroups": list(groups), "resources": list(resources), "verbs": list(verbs)}
}

// access are the roles. Nodes are not among them.
func access() []doc {
	const rbac = "rbac.authorization.k8s.io/v1"
	const all = "create delete get list patch update watch"
	manager := named("ClusterRole", rbac, "", "capv-manager-role", doc{"rules": []any{
		rbacRule(`""`, "secrets", "create delete get list patch watch update"),
		rbacRule(`""`, "events", "create patch get list watch update"),
		rbacRule(`""`, "namespaces", "get list watch"),
		rbacRule(`""`, "configmaps", "get list watch"),
		rbacRule("apiextensions.k8s.io", "customresourcedefinitions", "get list watch"),
		rbacRule("bootstrap.cluster.x-k8s.io", "kubeadmconfigs", "get list watch"),
		rbacRule("cluster.x-k8s.io", "clusters machines machinesets machinedeployments clusterclasses",
			"get list watch"),
		rbacRule("cluster.x-k8s.io", "machines", "patch"),
		rbacRule("cluster.x-k8s.io", "clusters/status machines/status", "get list watch"),
		rbacRule("controlplane.cluster.x-k8s.io", "kubeadmcontrolplanes", "get list watch"),
		rbacRule(group, "vsphereclusters vspheremachines vspherevms vspheremachinetemplates "+
			"vsphereclustertemplates vsphereclusteridentities vspheredeploymentzones vspherefailuredomains", all),
		rbacRule(group, "vsphereclusters/status vspheremachines/status vspherevms/status "+
			"vsphereclusteridentities/status vspheredeploymentzones/status", "get patch update"),
		rbacRule(ipamGroup, "ipaddressclaims", "get create patch watch list update"),
		rbacRule(ipamGroup, "ipaddresses", "get list watch"),
		rbacRule("authentication.k8s.io", "tokenreviews", "create"),
		rbacRule("authorization.k8s.io", "subjectaccessreviews", "create"),
	}})
	labels := manager["metadata"].(doc)["labels"].(doc)
	labels["cluster.x-k8s.io/aggregate-to-manager"] = "true"
	subject := []any{doc{"kind": "ServiceAccount", "name": "capv-manager", "namespace": namespaceName}}
	ref := func(kind, name string) doc {
		return doc{"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
	}
	return []doc{
		manager,
		named("ClusterRoleBinding", rbac, "", "capv-manager-rolebinding",
			doc{"roleRef": ref("ClusterRole", "capv-manager-role"), "subjects": subject}),
		named("Role", rbac, namespaceName, "capv-leader-election-role", doc{"rules": []any{
			rbacRule(`""`, "configmaps", "get list watch create update patch delete"),
			rbacRule(`""`, "events", "create"),
			rbacRule("coordination.k8s.io", "leases", "get list watch create update patch delete"),
		}}),
		named("RoleBinding", rbac, namespaceName, "capv-leader-election-rolebinding",
			doc{"roleRef": ref("Role", "capv-leader-election-role"), "subjects": subject}),
	}
}

func hook(verb, kind string, operations ...any) doc {
	plural := strings.ToLower(kind) + "s"
	name := map[string]string{"validate": "validation.", "mutate": "default."}[verb]
	return doc{
		"name":                    name + strings.ToLower(kind) + "." + group,
		"admissionReviewVersions": []any{"v1"},
		"clientConfig": doc{"service": doc{
			"name": webhookName, "namespace": namespaceName, "path": hookPath(verb, kind),
		}},
		"failurePolicy": "Fail", "matchPolicy": "Equivalent", "sideEffects": "None",
		"rules": []any{doc{
			"apiGroups": []any{group}, "apiVersions": []any{"v1beta2"},
			"operations": operations, "resources": []any{plural},
		}},
	}
}

func webhooks() []doc {
	var validating []any
	for _, r := range rules {
		validating = append(validating, hook("validate", r.kind, "CREATE", "UPDATE"))
	}
	const api = "admissionregistration.k8s.io/v1"
	all := []doc{
		named("MutatingWebhookConfiguration", api, "", "capv-mutating-webhook-configuration",
			doc{"webhooks": []any{hook("mutate", "VSphereVM", "CREATE", "UPDATE")}}),
		named("ValidatingWebhookConfiguration", api, "", "capv-validating-webhook-configuration",
			doc{"webhooks": validating}),
	}
	for _, o := range all {
		o["metadata"].(doc)["annotations"] = doc{injectCA: namespaceName + "/" + certificate}
	}
	return all
}

func deployment(image string) doc {
	labels := doc{"cluster.x-k8s.io/provider": providerLabel, "control-plane": "capv-controller-manager"}
	fieldRef := func(path string) doc {
		return doc{"fieldRef": doc{"fieldPath": path}}
	}
	probe := func(path string) doc {
		return doc{"httpGet": doc{"path": path, "port": "healthz"}}
	}
	container := doc{
		"name": "manager", "image": image, "imagePullPolicy": "IfNotPresent", "command": []any{"/manager"},
		"args": []any{
			"manager", "--leader-elect", "--v=4",
			"--diagnostics-address=${CAPI_DIAGNOSTICS_ADDRESS:=:8443}",
			"--insecure-diagnostics=${CAPI_INSECURE_DIAGNOSTICS:=false}",
			"--credentials-file=/etc/capv/credentials.yaml",
		},
		"env": []any{
			doc{"name": "POD_NAMESPACE", "valueFrom": fieldRef("metadata.namespace")},
			doc{"name": "POD_NAME", "valueFrom": fieldRef("metadata.name")},
			doc{"name": "POD_UID", "valueFrom": fieldRef("metadata.uid")},
		},
		"ports": []any{
			doc{"containerPort": 9443, "name": "webhook-server", "protocol": "TCP"},
			doc{"containerPort": 9440, "name": "healthz", "protocol": "TCP"},
		},
		"livenessProbe": probe("/healthz"), "readinessProbe": probe("/readyz"),
		"securityContext": doc{
			"allowPrivilegeEscalation": false, "capabilities": doc{"drop": []any{"ALL"}},
			"privileged": false, "runAsGroup": 65532, "runAsUser": 65532,
		},
		"terminationMessagePolicy": "FallbackToLogsOnError",
		"volumeMounts": []any{
			doc{"mountPath": "/tmp/k8s-webhook-server/serving-certs", "name": "cert", "readOnly": true},
			doc{"mountPath": "/etc/capv", "name": "manager-bootstrap-credentials", "readOnly": true},
		},
	}
	d := named("Deployment", "apps/v1", namespaceName, "capv-controller-manager", doc{"spec": doc{
		"replicas": 1, "selector": doc{"matchLabels": labels},
		"template": doc{
			"metadata": doc{"labels": labels},
			"spec": doc{
				"containers":                    []any{container},
				"securityContext":               doc{"runAsNonRoot": true},
				"serviceAccountName":            "capv-manager",
				"terminationGracePeriodSeconds": 10,
				"tolerations": []any{
					doc{"effect": "NoSchedule", "key": "node-role.kubernetes.io/control-plane"},
				},
				"volumes": []any{
					doc{"name": "cert", "secret": doc{"secretName": certSecret}},
					doc{"name": "manager-bootstrap-credentials", "secret": doc{
						"secretName": "capv-manager-bootstrap-credentials"}},
				},
			},
		},
	}})
	d["metadata"].(doc)["labels"] = labels
	return d
}

// components is the provider's infrastructure-components.yaml.
func components(image string) ([]doc, error) {
	all := []doc{named("Namespace", "v1", "", namespaceName)}
	crds, err := definitions()
	if err != nil {
		return nil, err
	}
	all = append(all, crds...)
	all = append(all, named("ServiceAccount", "v1", namespaceName, "capv-manager"))
	all = append(all, access()...)
	all = append(all,
		named("Secret", "v1", namespaceName, "capv-manager-bootstrap-credentials", doc{
			"type": "Opaque", "stringData": doc{"credentials.yaml": "" +
				"username: '${VSPHERE_USERNAME}'\npassword: '${VSPHERE_PASSWORD}'\n"},
		}),
		named("Service", "v1", namespaceName, webhookName, doc{"spec": doc{
			"ports":    []any{doc{"port": 443, "targetPort": "webhook-server"}},
			"selector": doc{"cluster.x-k8s.io/provider": providerLabel},
		}}),
		deployment(image),
		named("Certificate", "cert-manager.io/v1", namespaceName, certificate, doc{"spec": doc{
			"dnsNames": []any{
				webhookName + "." + namespaceName + ".svc",
				webhookName + "." + namespaceName + ".svc.cluster.local",
			},
			"issuerRef":  doc{"kind": "Issuer", "name": "capv-selfsigned-issuer"},
			"secretName": certSecret,
		}}),
		named("Issuer", "cert-manager.io/v1", namespaceName, "capv-selfsigned-issuer",
			doc{"spec": doc{"selfSigned": doc{}}}))
	return append(all, webhooks()...), nil
}

func printManifest(w io.Writer, image string) error {
	all, err := components(image)
	if err != nil {
		return err
	}
	return printObjects(w, all)
}

func printObjects(w io.Writer, all []doc) error {
	for _, o := range all {
		labels, _ := o["metadata"].(doc)["labels"].(doc)
		labels["clusterctl.cluster.x-k8s.io"] = ""
		text, err := yaml.Marshal(o)
		if err != nil {
			return err
		}
		if _, err = fmt.Fprintf(w, "---\n%s", text); err != nil {
			return err
		}
	}
	return nil
}

const metadataYAML = `apiVersion: clusterctl.cluster.x-k8s.io/v1alpha3
kind: Metadata
releaseSeries:
- major: 1
  minor: 17
  contract: v1beta2
`
