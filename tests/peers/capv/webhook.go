// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
	"sort"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// rule says what of a kind's specification may change once it is there.
type rule struct {
	kind    string
	at      []string // where the fields are, below spec
	changes []string // may change
	fills   []string // may change as long as they are empty
	devices bool     // addresses of network devices are looked at
}

var rules = []rule{
	{
		kind: "VSphereMachine", devices: true,
		changes: []string{"providerID", "powerOffMode", "guestSoftPowerOffTimeoutSeconds", "network.devices"},
	},
	{
		kind: "VSphereVM", devices: true,
		changes: []string{
			"bootstrapRef", "thumbprint", "powerOffMode", "guestSoftPowerOffTimeoutSeconds", "network.devices",
		},
		fills: []string{"os", "biosUUID"},
	},
	{kind: "VSphereMachineTemplate", at: []string{"template", "spec"}, devices: true},
	{kind: "VSphereClusterTemplate"},
	{kind: "VSphereFailureDomain"},
}

func hookPath(verb, kind string) string {
	return "/" + verb + "-infrastructure-cluster-x-k8s-io-v1beta2-" + strings.ToLower(kind)
}

func registerWebhooks(mgr ctrl.Manager) {
	server := mgr.GetWebhookServer()
	for _, r := range rules {
		server.Register(hookPath("validate", r.kind), &webhook.Admission{Handler: r})
	}
	server.Register(hookPath("mutate", "VSphereVM"), &webhook.Admission{
		Handler: admission.HandlerFunc(defaultVM),
	})
}

func specOf(data []byte) (doc, error) {
	var text struct {
		Spec doc `json:"spec"`
	}
	err := json.Unmarshal(data, &text)
	return text.Spec, err
}

// Handle is the validating webhook of a kind.
func (r rule) Handle(_ context.Context, req admission.Request) admission.Response {
	spec, err := specOf(req.Object.Raw)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if r.devices {
		if err = checkDevices(spec, r.at); err != nil {
			return admission.Denied(err.Error())
		}
	}
	if req.Operation != admissionv1.Update {
		return admission.Allowed("")
	}
	old, err := specOf(req.OldObject.Raw)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	for _, field := range r.changes {
		drop(old, field)
		drop(spec, field)
	}
	for _, field := range r.fills {
		if old[field] == nil || old[field] == "" {
			drop(old, field)
			drop(spec, field)
		}
	}
	if changed := differences("spec", old, spec); len(changed) > 0 {
		return admission.Denied(fmt.Sprintf("%s %s: %s cannot be modified", r.kind, req.Name,
			strings.Join(changed, ", ")))
	}
	return admission.Allowed("")
}

func drop(spec doc, field string) {
	first, rest, more := strings.Cut(field, ".")
	if !more {
		delete(spec, field)
		return
	}
	if next, ok := spec[first].(doc); ok {
		drop(next, rest)
	}
}

func differences(path string, a, b any) []string {
	x, xOk := a.(doc)
	y, yOk := b.(doc)
	if !xOk || !yOk {
		if reflect.DeepEqual(a, b) {
			return nil
		}
		return []string{path}
	}
	keys := map[string]bool{}
	for key := range x {
		keys[key] = true
	}
	for key := range y {
		keys[key] = true
	}
	var all []string
	for key := range keys {
		all = append(all, differences(path+"."+key, x[key], y[key])...)
	}
	sort.Strings(all)
	return all
}

func checkDevices(spec doc, at []string) error {
	for _, key := range at {
		spec, _ = spec[key].(doc)
	}
	network, _ := spec["network"].(doc)
	devices, _ := network["devices"].([]any)
	for i, d := range devices {
		device, _ := d.(doc)
		addresses, _ := device["ipAddrs"].([]any)
		for j, a := range addresses {
			text, _ := a.(string)
			if _, err := netip.ParsePrefix(text); err != nil {
				return fmt.Errorf("spec.network.devices[%d].ipAddrs[%d]: Invalid value: %q: ip addresses should be in the CIDR format", i, j, text)
			}
		}
	}
	return nil
}

// defaultVM is the mutating webhook of VSphereVM.
func defaultVM(_ context.Context, req admission.Request) admission.Response {
	var whole doc
	if err := json.Unmarshal(req.Object.Raw, &whole); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if spec, ok := whole["spec"].(doc); ok && (spec["os"] == nil || spec["os"] == "") {
		spec["os"] = "Linux"
	}
	data, err := json.Marshal(whole)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(req.Object.Raw, data)
}
