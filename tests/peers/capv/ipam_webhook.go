// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const (
	poolHookPath = "/validate-ipam-cluster-x-k8s-io-v1alpha2-inclusterippool"
	skipDelete   = ipamGroup + "/skip-validate-delete-webhook"
)

// poolHook is the validating webhook of InClusterIPPool: addresses, ranges and subnets of one family and one
// subnet, a gateway of that family; none that is in use is taken out, and a pool in use is not deleted. What is in use it
// knows from the manager's cache, which is a moment behind.
type poolHook struct{ client.Reader }

func registerPoolHook(mgr ctrl.Manager) {
	mgr.GetWebhookServer().Register(poolHookPath, &webhook.Admission{Handler: poolHook{mgr.GetClient()}})
}

// family reads a list of the specification; four and six say what is in it.
func family(field string, texts []string) (list []span, four, six bool, wrong []string) {
	for _, text := range texts {
		one, err := parseSpan(text)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("spec.%s: Invalid value: %q: provided address is not a valid IP, range, nor CIDR",
				field, text))
			continue
		}
		four, six = four || one.from.Is4(), six || one.from.Is6()
		list = append(list, one)
	}
	if four && six {
		wrong = append(wrong, "spec."+field+": provided addresses are of mixed IP families")
	}
	return list, four, six, wrong
}

func (s *ipPoolSpec) wrong() []string {
	list, four, six, wrong := family("addresses", s.Addresses)
	if len(s.Addresses) == 0 {
		wrong = append(wrong, "spec.addresses: Invalid value: null: addresses is required")
	}
	_, notFour, notSix, more := family("excludedAddresses", s.ExcludedAddresses)
	wrong = append(wrong, more...)
	if four && notSix || six && notFour {
		wrong = append(wrong, "spec.excludedAddresses: addresses and excluded addresses are of mixed IP families")
	}
	if s.Gateway != "" {
		gateway, err := netip.ParseAddr(s.Gateway)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("spec.gateway: Invalid value: %q: %v", s.Gateway, err))
		} else if gateway.Is6() && four || gateway.Is4() && six {
			wrong = append(wrong, "spec.gateway: provided gateway and addresses are of mixed IP families")
		}
	}
	if len(wrong) > 0 {
		return wrong
	}
	subnet := netip.PrefixFrom(newSpans(list)[0].from, s.Prefix)
	if !subnet.IsValid() {
		return []string{fmt.Sprintf("spec.prefix: Invalid value: %d: provided prefix is not valid", s.Prefix)}
	}
	for i, one := range list {
		if !subnet.Contains(one.from) || !subnet.Contains(one.to) {
			wrong = append(wrong, fmt.Sprintf("spec.addresses: Invalid value: %q: provided address belongs to a different "+
				"subnet than others", s.Addresses[i]))
		}
	}
	return wrong
}

func (h poolHook) Handle(ctx context.Context, req admission.Request) admission.Response {
	pool, text := &ipPool{}, req.Object.Raw
	if req.Operation == admissionv1.Delete {
		text = req.OldObject.Raw
	}
	if err := json.Unmarshal(text, pool); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if req.Operation != admissionv1.Delete {
		if wrong := pool.Spec.wrong(); len(wrong) > 0 {
			return admission.Errored(http.StatusUnprocessableEntity, fmt.Errorf("%s.%s %q is invalid: %s", ipPoolKind,
				ipamGroup, pool.Name, strings.Join(wrong, ", ")))
		}
	}
	if req.Operation == admissionv1.Create {
		return admission.Allowed("")
	}
	taken, err := inUse(ctx, h, req.Namespace, req.Name)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	if req.Operation == admissionv1.Delete {
		if _, skip := pool.Annotations[skipDelete]; len(taken) > 0 && !skip {
			return admission.Errored(http.StatusBadRequest,
				errors.New("Pool has IPAddresses allocated. Cannot delete Pool until all IPAddresses have been removed."))
		}
		return admission.Allowed("")
	}
	all, err := pool.Spec.allocatable()
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	var lost []string
	for i := range taken {
		if a, err := netip.ParseAddr(taken[i].Spec.Address); err == nil && !all.holds(a) {
			lost = append(lost, a.String())
		}
	}
	if len(lost) > 0 {
		return admission.Errored(http.StatusBadRequest,
			fmt.Errorf("pool addresses do not contain allocated addresses: %v", lost))
	}
	return admission.Allowed("")
}
