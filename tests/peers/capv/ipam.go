// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ipamv1 "sigs.k8s.io/cluster-api/api/ipam/v1beta2"
	"sigs.k8s.io/cluster-api/util"
	"sigs.k8s.io/cluster-api/util/annotations"
	"sigs.k8s.io/cluster-api/util/patch"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// addressProvider plays the IPAM provider in-cluster (cluster-api-ipam-provider-in-cluster 1.1): claims on an
// InClusterIPPool get the lowest free address of it. What it does is what the contract for IPAM providers (Cluster API's book,
// "IPAM Provider Specification") and the provider's own README say, with its names of finalizers and its owners:
// an address is named as its claim, owned by it as its controller and held by the pool; one that is there already
// stays as it is; nothing is done while the claim's Cluster is paused.
type addressProvider struct {
	client.Client
}

const (
	releaseFinalizer = ipamGroup + "/ReleaseAddress"
	addressFinalizer = ipamGroup + "/ProtectAddress"
	poolFinalizer    = ipamGroup + "/ProtectPool"
)

func (p *addressProvider) setup(mgr ctrl.Manager) error {
	err := ctrl.NewControllerManagedBy(mgr).For(&ipamv1.IPAddressClaim{}).Named("ipaddressclaim").
		Owns(&ipamv1.IPAddress{}).
		Watches(&clusterv1.Cluster{}, handler.EnqueueRequestsFromMapFunc(p.claimsOfCluster)).
		Watches(&ipPool{}, handler.EnqueueRequestsFromMapFunc(p.claimsOfPool)).
		Complete(reconcile.Func(p.reconcileClaim))
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).For(&ipPool{}).Named("inclusterippool").
		Watches(&ipamv1.IPAddress{}, handler.EnqueueRequestsFromMapFunc(poolOfAddress)).
		Complete(reconcile.Func(p.reconcilePool))
}

func isPool(ref ipamv1.IPPoolReference) bool {
	return ref.APIGroup == ipamGroup && ref.Kind == ipPoolKind
}

func poolOfAddress(_ context.Context, o client.Object) []reconcile.Request {
	address, ok := o.(*ipamv1.IPAddress)
	if !ok || !isPool(address.Spec.PoolRef) {
		return nil
	}
	key := client.ObjectKey{Namespace: address.Namespace, Name: address.Spec.PoolRef.Name}
	return []reconcile.Request{{NamespacedName: key}}
}

func (p *addressProvider) claims(ctx context.Context, ns string, want func(*ipamv1.IPAddressClaim) bool) []reconcile.Request {
	l := &ipamv1.IPAddressClaimList{}
	var all []reconcile.Request
	if p.List(ctx, l, client.InNamespace(ns)) == nil {
		for i := range l.Items {
			if want(&l.Items[i]) {
				all = append(all, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&l.Items[i])})
			}
		}
	}
	return all
}

func (p *addressProvider) claimsOfCluster(ctx context.Context, o client.Object) []reconcile.Request {
	return p.claims(ctx, o.GetNamespace(), func(c *ipamv1.IPAddressClaim) bool {
		return c.Labels[clusterv1.ClusterNameLabel] == o.GetName() || c.Spec.ClusterName == o.GetName()
	})
}

// claimsOfPool are those that wait: there may be an address for them now.
func (p *addressProvider) claimsOfPool(ctx context.Context, o client.Object) []reconcile.Request {
	return p.claims(ctx, o.GetNamespace(), func(c *ipamv1.IPAddressClaim) bool {
		return isPool(c.Spec.PoolRef) && c.Spec.PoolRef.Name == o.GetName() && c.Status.AddressRef.Name == ""
	})
}

// rests says that nothing is to be done for a claim: its Cluster is paused, or not there. One that is deleted goes on
// without its Cluster, which may be gone first.
func (p *addressProvider) rests(ctx context.Context, claim *ipamv1.IPAddressClaim) (bool, error) {
	name := claim.Spec.ClusterName
	if name == "" {
		name = claim.Labels[clusterv1.ClusterNameLabel]
	}
	if name == "" {
		return false, nil
	}
	cluster, err := util.GetClusterByName(ctx, p.Client, claim.Namespace, name)
	if apierrors.IsNotFound(err) {
		return claim.DeletionTimestamp.IsZero(), nil
	}
	if err != nil {
		return false, err
	}
	return annotations.IsPaused(cluster, claim), nil
}

func (p *addressProvider) reconcileClaim(ctx context.Context, req ctrl.Request) (res ctrl.Result, err error) {
	claim := &ipamv1.IPAddressClaim{}
	if err = p.Get(ctx, req.NamespacedName, claim); err != nil || !isPool(claim.Spec.PoolRef) {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if rests, err := p.rests(ctx, claim); err != nil || rests {
		return ctrl.Result{}, err
	}
	helper, err := patch.NewHelper(claim, p.Client)
	if err != nil {
		return ctrl.Result{}, err
	}
	defer func() {
		if e := helper.Patch(ctx, claim); e != nil {
			err = kerrors.NewAggregate([]error{err, e})
		}
	}()
	if !claim.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, p.release(ctx, claim)
	}
	if controllerutil.AddFinalizer(claim, releaseFinalizer) {
		return ctrl.Result{}, nil
	}
	pool := &ipPool{}
	err = p.Get(ctx, client.ObjectKey{Namespace: claim.Namespace, Name: claim.Spec.PoolRef.Name}, pool)
	if apierrors.IsNotFound(err) {
		ctrl.LoggerFrom(ctx).Info("The pool does not exist", "pool", claim.Spec.PoolRef.Name)
		return ctrl.Result{}, nil
	}
	if err != nil || annotations.HasPaused(pool) {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, p.bind(ctx, claim, pool)
}

func inUse(ctx context.Context, c client.Reader, ns, pool string) ([]ipamv1.IPAddress, error) {
	l := &ipamv1.IPAddressList{}
	if err := c.List(ctx, l, client.InNamespace(ns)); err != nil {
		return nil, err
	}
	var all []ipamv1.IPAddress
	for i := range l.Items {
		if isPool(l.Items[i].Spec.PoolRef) && l.Items[i].Spec.PoolRef.Name == pool {
			all = append(all, l.Items[i])
		}
	}
	return all, nil
}

// take sets an address of the pool in a new IPAddress, the lowest that no other has.
func take(address *ipamv1.IPAddress, pool *ipPool, taken []ipamv1.IPAddress) error {
	used := map[netip.Addr]bool{}
	for i := range taken {
		if a, err := netip.ParseAddr(taken[i].Spec.Address); err == nil {
			used[a] = true
		}
	}
	all, err := pool.Spec.allocatable()
	if err != nil {
		return err
	}
	free, ok := all.free(used)
	if !ok {
		return fmt.Errorf("failed to find free address: no address available")
	}
	address.Spec.Address, address.Spec.Gateway = free.String(), pool.Spec.Gateway
	address.Spec.Prefix = ptr.To(int32(pool.Spec.Prefix))
	return nil
}

func ownAddress(address *ipamv1.IPAddress, claim *ipamv1.IPAddressClaim, pool *ipPool) {
	for _, ref := range []metav1.OwnerReference{
		{
			APIVersion: ipamv1.GroupVersion.String(), Kind: "IPAddressClaim", Name: claim.Name, UID: claim.UID,
			Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
		},
		{
			APIVersion: poolVersion.String(), Kind: ipPoolKind, Name: pool.Name, UID: pool.UID,
			Controller: ptr.To(false), BlockOwnerDeletion: ptr.To(true),
		},
	} {
		have := false
		for i, old := range address.OwnerReferences {
			if old.Kind == ref.Kind && old.Name == ref.Name {
				have = true
				if !reflect.DeepEqual(old, ref) {
					address.OwnerReferences[i] = ref
				}
			}
		}
		if !have {
			address.OwnerReferences = append(address.OwnerReferences, ref)
		}
	}
}

func (p *addressProvider) bind(ctx context.Context, claim *ipamv1.IPAddressClaim, pool *ipPool) error {
	address := &ipamv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Namespace: claim.Namespace, Name: claim.Name}}
	result, err := controllerutil.CreateOrPatch(ctx, p.Client, address, func() error {
		taken, err := inUse(ctx, p.Client, claim.Namespace, pool.Name)
		if err != nil {
			return err
		}
		if address.UID == "" {
			address.Spec.ClaimRef.Name = claim.Name
			address.Spec.PoolRef = claim.Spec.PoolRef
			if err = take(address, pool, taken); err != nil {
				return err
			}
		}
		ownAddress(address, claim, pool)
		if name, ok := claim.Labels[clusterv1.ClusterNameLabel]; ok {
			if address.Labels == nil {
				address.Labels = map[string]string{}
			}
			address.Labels[clusterv1.ClusterNameLabel] = name
		}
		controllerutil.AddFinalizer(address, addressFinalizer)
		return nil
	})
	if err != nil {
		return fmt.Errorf("failed to create or patch address: %w", err)
	}
	ctrl.LoggerFrom(ctx).Info("The claim has its address", "address", address.Spec.Address, "how", result)
	// The next claim must find it in the cache, or it would be given out twice.
	err = wait.PollUntilContextTimeout(ctx, 5*time.Millisecond, 5*time.Second, true, func(ctx context.Context) (bool, error) {
		err := p.Get(ctx, client.ObjectKeyFromObject(address), &ipamv1.IPAddress{})
		return err == nil, client.IgnoreNotFound(err)
	})
	if err == nil {
		claim.Status.AddressRef = ipamv1.IPAddressReference{Name: address.Name}
	}
	return err
}

func (p *addressProvider) release(ctx context.Context, claim *ipamv1.IPAddressClaim) error {
	address := &ipamv1.IPAddress{}
	err := p.Get(ctx, client.ObjectKeyFromObject(claim), address)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	if err == nil {
		before := client.MergeFrom(address.DeepCopy())
		if controllerutil.RemoveFinalizer(address, addressFinalizer) {
			if err = client.IgnoreNotFound(p.Patch(ctx, address, before)); err != nil {
				return err
			}
		}
		if err = client.IgnoreNotFound(p.Delete(ctx, address)); err != nil {
			return err
		}
		ctrl.LoggerFrom(ctx).Info("The address is free again", "address", address.Spec.Address)
	}
	controllerutil.RemoveFinalizer(claim, releaseFinalizer)
	return nil
}

func (p *addressProvider) reconcilePool(ctx context.Context, req ctrl.Request) (res ctrl.Result, err error) {
	pool := &ipPool{}
	if err = p.Get(ctx, req.NamespacedName, pool); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	helper, err := patch.NewHelper(pool, p.Client)
	if err != nil {
		return ctrl.Result{}, err
	}
	taken, err := inUse(ctx, p.Client, pool.Namespace, pool.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !pool.DeletionTimestamp.IsZero() {
		if len(taken) == 0 {
			controllerutil.RemoveFinalizer(pool, poolFinalizer)
		}
		return ctrl.Result{}, helper.Patch(ctx, pool)
	}
	controllerutil.AddFinalizer(pool, poolFinalizer)
	all, err := pool.Spec.allocatable()
	if err != nil {
		return ctrl.Result{}, err
	}
	counts := &ipPoolCounts{Total: all.count(), Used: len(taken)}
	for i := range taken {
		if a, err := netip.ParseAddr(taken[i].Spec.Address); err != nil || !all.holds(a) {
			counts.OutOfRange++
		}
	}
	counts.Free = counts.Total - counts.Used
	pool.Status.IPAddresses = counts
	return ctrl.Result{}, helper.Patch(ctx, pool)
}
