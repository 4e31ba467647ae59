// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25/mo"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util"
	"sigs.k8s.io/cluster-api/util/patch"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// A deployment zone has no namespace and no Cluster: it is looked at although Clusters are paused. It is ready when what
// it and its failure domain name is there, and the failure domain's objects wear their tags.
func (r *reconcilers) reconcileZone(ctx context.Context, req ctrl.Request) (res ctrl.Result, err error) {
	z := &vSphereDeploymentZone{}
	if err = r.Get(ctx, req.NamespacedName, z); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	helper, err := patch.NewHelper(z, r.Client)
	if err != nil {
		return ctrl.Result{}, err
	}
	defer func() {
		summarize(ctx, z, vCenterAvailable, placementReady, domainValidated)
		owned := ownedConditions
		owned.Conditions = append([]string{placementReady, domainValidated}, owned.Conditions...)
		if e := helper.Patch(ctx, z, owned); e != nil {
			err = kerrors.NewAggregate([]error{err, e})
		}
	}()
	if !z.DeletionTimestamp.IsZero() {
		controllerutil.RemoveFinalizer(z, zoneFinalizer)
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(z, zoneFinalizer) {
		return ctrl.Result{}, nil
	}
	err = r.provisionZone(ctx, z)
	z.Status.Ready = ptr.To(err == nil)
	return ctrl.Result{}, err
}

func (r *reconcilers) provisionZone(ctx context.Context, z *vSphereDeploymentZone) error {
	d := &vSphereFailureDomain{}
	if err := r.Get(ctx, client.ObjectKey{Name: z.Spec.FailureDomain}, d); err != nil {
		setFalse(z, domainValidated, "NotFound", err.Error())
		return fmt.Errorf("VSphereFailureDomain %s: %w", z.Spec.FailureDomain, err)
	}
	infra, err := r.clusterOn(ctx, z.Spec.Server)
	if err != nil {
		setFalse(z, vCenterAvailable, "VCenterUnreachable", err.Error())
		return err
	}
	v, err := r.session(ctx, infra, &CloneSpec{Server: z.Spec.Server, Datacenter: d.Spec.Topology.Datacenter})
	if err != nil {
		setFalse(z, vCenterAvailable, "VCenterUnreachable", err.Error())
		return err
	}
	setTrue(z, vCenterAvailable, "VCenterAvailable")
	if err = v.verifyConstraint(ctx, z, d); err != nil {
		setFalse(z, placementReady, "Misconfigured", err.Error())
		return err
	}
	setTrue(z, placementReady, "Ready")
	if err = v.verifyDomain(ctx, d); err != nil {
		setFalse(z, domainValidated, "Misconfigured", err.Error())
		return err
	}
	setTrue(z, domainValidated, "Validated")
	before := client.MergeFrom(d.DeepCopyObject().(client.Object))
	d.OwnerReferences = util.EnsureOwnerRef(d.OwnerReferences, metav1.OwnerReference{
		APIVersion: groupVersion.String(), Kind: "VSphereDeploymentZone", Name: z.Name, UID: z.UID,
	})
	return r.Patch(ctx, d, before)
}

// clusterOn is a cluster on that server, whose credentials serve for its zones.
func (r *reconcilers) clusterOn(ctx context.Context, server string) (*vSphereCluster, error) {
	l := &vSphereClusterList{}
	if err := r.List(ctx, l); err != nil {
		return nil, err
	}
	for i := range l.Items {
		if l.Items[i].Spec.Server == server && l.Items[i].DeletionTimestamp.IsZero() {
			return &l.Items[i], nil
		}
	}
	if r.user != "" {
		return &vSphereCluster{Spec: vSphereClusterSpec{Server: server}}, nil
	}
	return nil, fmt.Errorf("no VSphereCluster is on %s", server)
}

func (v *vcenter) verifyConstraint(ctx context.Context, z *vSphereDeploymentZone, d *vSphereFailureDomain) error {
	c := z.Spec.PlacementConstraint
	if c == nil {
		return nil
	}
	if c.Folder != "" {
		if _, err := v.finder.Folder(ctx, c.Folder); err != nil {
			return fmt.Errorf("folder %s is misconfigured: %w", c.Folder, err)
		}
	}
	if c.ResourcePool == "" {
		return nil
	}
	pool, err := v.finder.ResourcePool(ctx, c.ResourcePool)
	if err != nil {
		return fmt.Errorf("resource pool %s is misconfigured: %w", c.ResourcePool, err)
	}
	if d.Spec.Topology.ComputeCluster == "" {
		return nil
	}
	owner, err := pool.Owner(ctx)
	if err != nil {
		return err
	}
	cluster, err := v.finder.ClusterComputeResource(ctx, d.Spec.Topology.ComputeCluster)
	if err != nil {
		return fmt.Errorf("compute cluster %s is misconfigured: %w", d.Spec.Topology.ComputeCluster, err)
	}
	if owner.Reference() != cluster.Reference() {
		return fmt.Errorf("compute cluster %s does not own resource pool %s", d.Spec.Topology.ComputeCluster, c.ResourcePool)
	}
	return nil
}

func (v *vcenter) verifyDomain(ctx context.Context, d *vSphereFailureDomain) error {
	t := d.Spec.Topology
	if t.Hosts != nil || len(t.NetworkConfigurations) > 0 {
		return fmt.Errorf("this stand-in does not do topology.hosts and topology.networkConfigurations")
	}
	for _, name := range t.Networks {
		if _, err := v.finder.Network(ctx, name); err != nil {
			return fmt.Errorf("network %s is misconfigured: %w", name, err)
		}
	}
	if t.Datastore != "" {
		if _, err := v.finder.Datastore(ctx, t.Datastore); err != nil {
			return fmt.Errorf("datastore %s is misconfigured: %w", t.Datastore, err)
		}
	}
	for _, tag := range []domainTag{d.Spec.Region, d.Spec.Zone} {
		if err := v.verifyTag(ctx, d, tag); err != nil {
			return err
		}
	}
	return nil
}

func (v *vcenter) verifyTag(ctx context.Context, d *vSphereFailureDomain, tag domainTag) error {
	var ref mo.Reference = v.dc
	switch tag.Type {
	case "Datacenter":
	case "ComputeCluster":
		cluster, err := v.finder.ClusterComputeResource(ctx, d.Spec.Topology.ComputeCluster)
		if err != nil {
			return err
		}
		ref = cluster
	default:
		return fmt.Errorf("this stand-in does not do failure domains of type %s", tag.Type)
	}
	manager := tags.NewManager(v.rest)
	attached, err := manager.GetAttachedTags(ctx, ref)
	if err != nil {
		return err
	}
	for _, a := range attached {
		category, err := manager.GetCategory(ctx, a.CategoryID)
		if err != nil {
			return err
		}
		if a.Name == tag.Name && category.Name == tag.TagCategory {
			return nil
		}
	}
	return fmt.Errorf("tag %s of category %s is not attached to the %s", tag.Name, tag.TagCategory, tag.Type)
}

// zonesOf are those that a cluster chooses. Without a selector it has none.
func (r *reconcilers) zonesOf(ctx context.Context, c *vSphereCluster) ([]vSphereDeploymentZone, error) {
	if c.Spec.FailureDomainSelector == nil {
		return nil, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(c.Spec.FailureDomainSelector)
	if err != nil {
		return nil, err
	}
	l := &vSphereDeploymentZoneList{}
	if err = r.List(ctx, l); err != nil {
		return nil, err
	}
	var chosen []vSphereDeploymentZone
	for _, z := range l.Items {
		if z.Spec.Server == c.Spec.Server && selector.Matches(labels.Set(z.Labels)) {
			chosen = append(chosen, z)
		}
	}
	return chosen, nil
}

// holdDomains tells the core controllers which failure domains there are. False: a zone has not been looked at yet.
func (r *reconcilers) holdDomains(ctx context.Context, c *vSphereCluster) (bool, error) {
	zones, err := r.zonesOf(ctx, c)
	if err != nil {
		return false, err
	}
	c.Status.FailureDomains = nil
	for _, z := range zones {
		if z.Status.Ready == nil {
			setFalse(c, domainsReady, "WaitingForFailureDomainStatus", "VSphereDeploymentZone "+z.Name+" has no status yet")
			return false, nil
		}
		if *z.Status.Ready {
			c.Status.FailureDomains = append(c.Status.FailureDomains,
				clusterv1.FailureDomain{Name: z.Name, ControlPlane: ptr.To(z.Spec.ControlPlane == nil || *z.Spec.ControlPlane)})
		}
	}
	if len(zones) > 0 {
		setTrue(c, domainsReady, "FailureDomainsReady")
	}
	return true, nil
}

func (r *reconcilers) zonesOnServer(ctx context.Context, o client.Object) []reconcile.Request {
	l := &vSphereDeploymentZoneList{}
	var all []reconcile.Request
	if r.List(ctx, l) != nil {
		return nil
	}
	for _, z := range l.Items {
		c, ok := o.(*vSphereCluster)
		if (ok && c.Spec.Server == z.Spec.Server) || (!ok && o.GetName() == z.Spec.FailureDomain) {
			all = append(all, reconcile.Request{NamespacedName: types.NamespacedName{Name: z.Name}})
		}
	}
	return all
}

func (r *reconcilers) clustersOfZone(ctx context.Context, o client.Object) []reconcile.Request {
	l := &vSphereClusterList{}
	var all []reconcile.Request
	if r.List(ctx, l) != nil {
		return nil
	}
	for i := range l.Items {
		if l.Items[i].Spec.Server == o.(*vSphereDeploymentZone).Spec.Server {
			all = append(all, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&l.Items[i])})
		}
	}
	return all
}

// inDomain is what the failure domain of a Machine changes of its VSphereVM: where it says something, that holds, whatever
// the template says. Of networks the names alone, in their order. A zone or a domain that is not there changes nothing,
// as with the real one: the machine is then made where its template says.
func (r *reconcilers) inDomain(ctx context.Context, machine *clusterv1.Machine) func(*vSphereVM) {
	log := ctrl.LoggerFrom(ctx)
	same := func(*vSphereVM) {}
	if machine.Spec.FailureDomain == "" {
		return same
	}
	z, d := &vSphereDeploymentZone{}, &vSphereFailureDomain{}
	if err := r.Get(ctx, client.ObjectKey{Name: machine.Spec.FailureDomain}, z); err != nil {
		log.Error(err, "Failed to get VSphereDeploymentZone", "name", machine.Spec.FailureDomain)
		return same
	}
	if err := r.Get(ctx, client.ObjectKey{Name: z.Spec.FailureDomain}, d); err != nil {
		log.Error(err, "Failed to get VSphereFailureDomain", "name", z.Spec.FailureDomain)
		return same
	}
	return func(vm *vSphereVM) {
		over := func(value *string, with string) {
			if with != "" {
				*value = with
			}
		}
		vm.Spec.Server, vm.Spec.Datacenter = z.Spec.Server, d.Spec.Topology.Datacenter
		if c := z.Spec.PlacementConstraint; c != nil {
			over(&vm.Spec.Folder, c.Folder)
			over(&vm.Spec.ResourcePool, c.ResourcePool)
		}
		over(&vm.Spec.Datastore, d.Spec.Topology.Datastore)
		for i, name := range d.Spec.Topology.Networks {
			if i == len(vm.Spec.Network.Devices) {
				vm.Spec.Network.Devices = append(vm.Spec.Network.Devices, networkDevice{})
			}
			vm.Spec.Network.Devices[i].NetworkName = name
		}
	}
}
