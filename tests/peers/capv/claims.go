// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ipamv1 "sigs.k8s.io/cluster-api/api/ipam/v1beta2"
	"sigs.k8s.io/cluster-api/util"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

// Addresses from pools, as CAPV's proposal for IPAM (docs/proposal/20220929-ipam-support.md there) has them: a claim for
// each pool of each device, VM-DEVICE-POOL, owned by the VSphereVM and kept by a finalizer until its machine is
// gone. Other than the proposal says, releases clone a machine while its claims still wait: they need the MAC
// addresses first. Then they write no metadata and do not power it on.

func claimName(vm string, device, pool int) string {
	return fmt.Sprintf("%s-%d-%d", vm, device, pool)
}

func eachClaim(vm *vSphereVM, do func(name string, pool ipamv1.IPPoolReference) error) error {
	for i := range vm.Spec.Network.Devices {
		for k, pool := range vm.Spec.Network.Devices[i].AddressesFromPools {
			if err := do(claimName(vm.Name, i, k), pool); err != nil {
				return err
			}
		}
	}
	return nil
}

// waitsForAddress says that a device has neither DHCP nor addresses nor pools, and is to have an address: somebody else
// will write it.
func waitsForAddress(vm *vSphereVM) bool {
	return slices.ContainsFunc(vm.Spec.Network.Devices, func(d networkDevice) bool {
		return !yes(d.SkipIPAllocation) && !yes(d.DHCP4) && !yes(d.DHCP6) && len(d.IPAddrs) == 0 &&
			len(d.AddressesFromPools) == 0
	})
}

func (r *reconcilers) claim(ctx context.Context, vm *vSphereVM, name string, pool ipamv1.IPPoolReference) (
	claim *ipamv1.IPAddressClaim, made bool, err error) {
	claim = &ipamv1.IPAddressClaim{ObjectMeta: metav1.ObjectMeta{Namespace: vm.Namespace, Name: name}}
	result, err := controllerutil.CreateOrPatch(ctx, r.Client, claim, func() error {
		claim.OwnerReferences = util.EnsureOwnerRef(claim.OwnerReferences, metav1.OwnerReference{
			APIVersion: groupVersion.String(), Kind: "VSphereVM", Name: vm.Name, UID: vm.UID,
		})
		controllerutil.AddFinalizer(claim, claimFinalizer)
		if claim.Labels == nil {
			claim.Labels = map[string]string{}
		}
		claim.Labels[clusterv1.ClusterNameLabel] = vm.Labels[clusterv1.ClusterNameLabel]
		claim.Spec.PoolRef = pool
		return nil
	})
	if err == nil && result != controllerutil.OperationResultNone {
		ctrl.LoggerFrom(ctx).Info("Wrote an IPAddressClaim", "name", name, "how", result)
	}
	return claim, result == controllerutil.OperationResultCreated, err
}

// reconcileClaims has a claim for each pool of each device and says in a condition how many have an address.
func (r *reconcilers) reconcileClaims(ctx context.Context, vm *vSphereVM) error {
	total, made, bound := 0, 0, 0
	err := eachClaim(vm, func(name string, pool ipamv1.IPPoolReference) error {
		claim, created, err := r.claim(ctx, vm, name, pool)
		total++
		if created {
			made++
		}
		if err == nil && claim.Status.AddressRef.Name != "" {
			bound++
		}
		return err
	})
	switch {
	case err != nil:
		setFalse(vm, claimsFulfilled, "NotFulfilled", err.Error())
	case bound == total:
		setTrue(vm, claimsFulfilled, "Fulfilled")
	case made > 0:
		setFalse(vm, claimsFulfilled, "IPAddressClaimsBeingCreated", fmt.Sprintf("%d/%d claims being created", made, total))
	default:
		setFalse(vm, claimsFulfilled, "WaitingForIPAddress",
			fmt.Sprintf("%d/%d claims being processed", total-bound, total))
	}
	return err
}

// addFrom gives a device the address of one claim; false: it has none yet.
func (r *reconcilers) addFrom(ctx context.Context, vm *vSphereVM, d *networkDevice, name string) (bool, error) {
	claim, address := &ipamv1.IPAddressClaim{}, &ipamv1.IPAddress{}
	err := r.Get(ctx, client.ObjectKey{Namespace: vm.Namespace, Name: name}, claim)
	if err != nil || claim.Status.AddressRef.Name == "" {
		return false, client.IgnoreNotFound(err)
	}
	if err = r.Get(ctx, client.ObjectKey{Namespace: vm.Namespace, Name: claim.Status.AddressRef.Name}, address); err != nil {
		return false, err
	}
	prefix := int32(0)
	if address.Spec.Prefix != nil {
		prefix = *address.Spec.Prefix
	}
	with, err := netip.ParsePrefix(fmt.Sprintf("%s/%d", address.Spec.Address, prefix))
	if err != nil {
		return false, fmt.Errorf("IPAddress %s/%s has invalid ip address: %q", vm.Namespace, address.Name, address.Spec.Address)
	}
	if slices.Contains(d.IPAddrs, with.String()) {
		return false, fmt.Errorf("IPAddress %s/%s is a duplicate of another address: %q", vm.Namespace, address.Name, with)
	}
	d.IPAddrs = append(d.IPAddrs, with.String())
	if address.Spec.Gateway == "" {
		return true, nil
	}
	gateway, err := netip.ParseAddr(address.Spec.Gateway)
	if err != nil || gateway.Is4() != with.Addr().Is4() {
		return false, fmt.Errorf("IPAddress %s/%s has invalid gateway: %q", vm.Namespace, address.Name, address.Spec.Gateway)
	}
	to := &d.Gateway4
	if gateway.Is6() {
		to = &d.Gateway6
	}
	if *to != "" && *to != address.Spec.Gateway {
		return false, fmt.Errorf("the gateway %s of IPAddress %s is not that of its device, %s", address.Spec.Gateway,
			address.Name, *to)
	}
	*to = address.Spec.Gateway
	return true, nil
}

// devicesOf are the devices of the specification with the addresses of their claims; false: some wait for theirs.
func (r *reconcilers) devicesOf(ctx context.Context, vm *vSphereVM) ([]networkDevice, bool, error) {
	devices := copied(vm).Spec.Network.Devices
	all := true
	for i := range devices {
		for k := range devices[i].AddressesFromPools {
			has, err := r.addFrom(ctx, vm, &devices[i], claimName(vm.Name, i, k))
			if err != nil {
				return nil, false, err
			}
			all = all && has
		}
	}
	return devices, all, nil
}

// releaseClaims lets go of the claims of a machine that is gone; the garbage collector deletes them after the VSphereVM.
func (r *reconcilers) releaseClaims(ctx context.Context, vm *vSphereVM) error {
	return eachClaim(vm, func(name string, _ ipamv1.IPPoolReference) error {
		claim := &ipamv1.IPAddressClaim{}
		err := r.Get(ctx, client.ObjectKey{Namespace: vm.Namespace, Name: name}, claim)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil && controllerutil.RemoveFinalizer(claim, claimFinalizer) {
			err = r.Update(ctx, claim)
		}
		return err
	})
}
