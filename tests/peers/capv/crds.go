// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
)

// The fields of the provider's kinds, one a line: kind, version, path, type, required, constraints.
// Lines with # describe a kind and its versions.
//
//go:embed vsphere.tsv
var table string

type doc = map[string]any

type kindTable struct {
	kind, plural, scope string
	versions            []*versionTable
}

type versionTable struct {
	name            string
	storage, status bool
	schema          doc
}

// schemaAt finds or makes the node of a path such as .spec.network.devices[].routes[].
func schemaAt(root doc, path string) (node, parent doc, name string) {
	node = root
	for _, part := range strings.Split(strings.TrimPrefix(path, "."), ".") {
		name = strings.TrimRight(part, "[]{}")
		parent = node
		properties, ok := node["properties"].(doc)
		if !ok {
			properties = doc{}
			node["properties"] = properties
		}
		next, ok := properties[name].(doc)
		if !ok {
			next = doc{}
			properties[name] = next
		}
		node = next
		for suffix := part[len(name):]; suffix != ""; suffix = suffix[2:] {
			key := "items"
			if suffix[:2] == "{}" {
				key = "additionalProperties"
			}
			next, ok = node[key].(doc)
			if !ok {
				next = doc{}
				node[key] = next
			}
			node = next
			parent = nil
		}
	}
	return node, parent, name
}

func addField(root doc, path, kind string, required bool, constraints string) error {
	node, parent, name := schemaAt(root, path)
	if kind == "intstr" {
		node["anyOf"] = []any{doc{"type": "integer"}, doc{"type": "string"}}
	} else {
		node["type"] = kind
	}
	if required && parent != nil {
		list, _ := parent["required"].([]any)
		parent["required"] = append(list, name)
	}
	if constraints == "" {
		return nil
	}
	extra := doc{}
	if err := json.Unmarshal([]byte(constraints), &extra); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for key, value := range extra {
		switch key {
		case "list-type", "list-map-keys", "map-type", "int-or-string", "preserve-unknown-fields":
			key = "x-kubernetes-" + key
		case "cel_rules":
			return fmt.Errorf("%s has validation rules, which the table does not tell", path)
		}
		node[key] = value
	}
	return nil
}

func readTable() ([]*kindTable, error) {
	var kinds []*kindTable
	var now *versionTable
	for n, line := range strings.Split(table, "\n") {
		cell := strings.Split(line, "\t")
		switch {
		case len(cell) == 1 || cell[0] == "# kind":
		case cell[0][0] == '#' && strings.HasPrefix(cell[1], "group "):
			kinds = append(kinds, &kindTable{
				kind:   strings.TrimPrefix(cell[0], "# "),
				plural: strings.TrimPrefix(cell[2], "plural "),
				scope:  strings.TrimPrefix(cell[4], "scope "),
			})
		case cell[0][0] == '#':
			now = &versionTable{
				name: cell[1], storage: cell[3] == "storage True",
				status: cell[4] == "subresources status",
				schema: doc{"type": "object", "properties": doc{
					"apiVersion": doc{"type": "string"}, "kind": doc{"type": "string"},
					"metadata": doc{"type": "object"},
				}},
			}
			k := kinds[len(kinds)-1]
			k.versions = append(k.versions, now)
		default:
			cell = append(cell, "", "")
			if err := addField(now.schema, cell[2], cell[3], cell[4] == "required", cell[5]); err != nil {
				return nil, fmt.Errorf("line %d: %s: %w", n+1, cell[0], err)
			}
		}
	}
	return kinds, nil
}

// definitions are the CustomResourceDefinitions of the table. v1beta1 has other shapes and nothing
// here converts, so it is not served; a gateway that needs it sees that in "served".
func definitions() ([]doc, error) {
	kinds, err := readTable()
	if err != nil {
		return nil, err
	}
	var all []doc
	for _, k := range kinds {
		var versions []any
		for _, v := range k.versions {
			version := doc{
				"name": v.name, "served": v.storage, "storage": v.storage,
				"schema": doc{"openAPIV3Schema": v.schema},
			}
			if v.status {
				version["subresources"] = doc{"status": doc{}}
			}
			versions = append(versions, version)
		}
		singular := strings.ToLower(k.kind)
		all = append(all, doc{
			"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
			"metadata": doc{
				"name": k.plural + "." + group,
				"labels": doc{
					"cluster.x-k8s.io/provider": "infrastructure-vsphere",
					"cluster.x-k8s.io/v1beta1":  "v1beta1", "cluster.x-k8s.io/v1beta2": "v1beta2",
				},
			},
			"spec": doc{
				"group": group, "scope": k.scope,
				"names": doc{
					"kind": k.kind, "listKind": k.kind + "List", "plural": k.plural,
					"singular": singular, "categories": []any{"cluster-api"},
				},
				"conversion": doc{"strategy": "None"},
				"versions":   versions,
			},
		})
	}
	return all, nil
}
