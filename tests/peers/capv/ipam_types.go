// SPDX-License-Identifier: Apache-2.0

package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const ipamGroup = "ipam.cluster.x-k8s.io"

const ipPoolKind = "InClusterIPPool"

var poolVersion = schema.GroupVersion{Group: ipamGroup, Version: "v1alpha2"}

type ipPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              ipPoolSpec   `json:"spec"`
	Status            ipPoolStatus `json:"status,omitempty"`
}

type ipPoolSpec struct {
	Addresses                   []string `json:"addresses"`
	Prefix                      int      `json:"prefix"`
	Gateway                     string   `json:"gateway,omitempty"`
	AllocateReservedIPAddresses bool     `json:"allocateReservedIPAddresses,omitempty"`
	ExcludedAddresses           []string `json:"excludedAddresses,omitempty"`
}

type ipPoolStatus struct {
	IPAddresses *ipPoolCounts `json:"ipAddresses,omitempty"`
}

type ipPoolCounts struct {
	Free       int `json:"free"`
	OutOfRange int `json:"outOfRange"`
	Total      int `json:"total"`
	Used       int `json:"used"`
}

type ipPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ipPool `json:"items"`
}

func (p *ipPool) DeepCopyObject() runtime.Object     { return copied(p) }
func (l *ipPoolList) DeepCopyObject() runtime.Object { return copied(l) }

func addPoolTypes(s *runtime.Scheme) error {
	s.AddKnownTypeWithName(poolVersion.WithKind(ipPoolKind), &ipPool{})
	s.AddKnownTypeWithName(poolVersion.WithKind(ipPoolKind+"List"), &ipPoolList{})
	metav1.AddToGroupVersion(s, poolVersion)
	return nil
}

// poolDefinition has the fields and limits of v1alpha2, the version that the release stores. v1alpha1, pools of the whole
// cluster and pools of prefixes are not played.
func poolDefinition() doc {
	number := doc{"type": "integer"}
	texts := doc{"type": "array", "items": doc{"type": "string"}}
	schema := doc{"type": "object", "properties": doc{
		"apiVersion": doc{"type": "string"}, "kind": doc{"type": "string"}, "metadata": doc{"type": "object"},
		"spec": doc{"type": "object", "required": []any{"addresses", "prefix"}, "properties": doc{
			"addresses": texts, "excludedAddresses": texts, "gateway": doc{"type": "string"},
			"prefix":                      doc{"type": "integer", "minimum": 0, "maximum": 128},
			"allocateReservedIPAddresses": doc{"type": "boolean"},
		}},
		"status": doc{"type": "object", "properties": doc{"ipAddresses": doc{
			"type": "object", "required": []any{"free", "outOfRange", "total", "used"},
			"properties": doc{"free": number, "outOfRange": number, "total": number, "used": number},
		}}},
	}}
	return ipamObject("CustomResourceDefinition", "apiextensions.k8s.io/v1", "", "inclusterippools."+ipamGroup, doc{
		"spec": doc{
			"group": ipamGroup, "scope": "Namespaced",
			"names": doc{
				"kind": ipPoolKind, "listKind": ipPoolKind + "List", "plural": "inclusterippools",
				"singular": "inclusterippool", "categories": []any{"cluster-api"},
			},
			"versions": []any{doc{
				"name": poolVersion.Version, "served": true, "storage": true,
				"schema": doc{"openAPIV3Schema": schema}, "subresources": doc{"status": doc{}},
			}},
		},
	})
}
