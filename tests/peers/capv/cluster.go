// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util"
	"sigs.k8s.io/cluster-api/util/patch"
	"sigs.k8s.io/cluster-api/util/paused"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

func (r *reconcilers) reconcileCluster(ctx context.Context, req ctrl.Request) (res ctrl.Result, err error) {
	c := &vSphereCluster{}
	if err = r.Get(ctx, req.NamespacedName, c); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	cluster, err := util.GetOwnerCluster(ctx, r.Client, c.ObjectMeta)
	if err != nil {
		return ctrl.Result{}, err
	}
	// Without an owner the object does not know its Cluster, and so not that this is paused.
	if is, again, err := paused.EnsurePausedCondition(ctx, r.Client, cluster, c); err != nil || is || again {
		return ctrl.Result{}, err
	}
	if cluster == nil {
		ctrl.LoggerFrom(ctx).Info("Waiting for Cluster controller to set OwnerRef on VSphereCluster")
		return ctrl.Result{}, nil
	}
	helper, err := patch.NewHelper(c, r.Client)
	if err != nil {
		return ctrl.Result{}, err
	}
	defer func() {
		summarize(ctx, c, vCenterAvailable)
		owned := ownedConditions
		owned.Conditions = append([]string{domainsReady}, owned.Conditions...)
		if e := helper.Patch(ctx, c, owned); e != nil {
			err = kerrors.NewAggregate([]error{err, e})
		}
	}()
	if !c.DeletionTimestamp.IsZero() {
		return r.deleteCluster(ctx, c, cluster.Name)
	}
	if controllerutil.AddFinalizer(c, clusterFinalizer) {
		return ctrl.Result{}, nil
	}
	ready, err := r.holdDomains(ctx, c)
	if err != nil || !ready {
		return ctrl.Result{RequeueAfter: 10 * time.Second}, err
	}
	return ctrl.Result{}, r.provisionCluster(ctx, c)
}

func (r *reconcilers) provisionCluster(ctx context.Context, c *vSphereCluster) error {
	if err := r.holdIdentity(ctx, c); err != nil {
		setFalse(c, vCenterAvailable, "VCenterUnreachable", err.Error())
		return fmt.Errorf("failed to get credentials from IdentityRef: %w", err)
	}
	v, err := r.session(ctx, c, nil)
	if err != nil {
		setFalse(c, vCenterAvailable, "VCenterUnreachable", err.Error())
		return fmt.Errorf("unexpected error while probing vcenter for %s: %w", client.ObjectKeyFromObject(c), err)
	}
	setTrue(c, vCenterAvailable, "VCenterAvailable")
	c.Status.VCenterVersion = v.client.ServiceContent.About.Version
	if e := c.Spec.ControlPlaneEndpoint; e != nil && e.Host != "" && e.Port == 0 {
		e.Port = 6443
	}
	c.Status.Initialization = &initialization{Provisioned: ptr.To(true)}
	return nil
}

// holdIdentity makes the cluster the owner of its Secret and keeps that from vanishing before it.
func (r *reconcilers) holdIdentity(ctx context.Context, c *vSphereCluster) error {
	if c.Spec.IdentityRef == nil || c.Spec.IdentityRef.Kind != "Secret" {
		return nil
	}
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: c.Namespace, Name: c.Spec.IdentityRef.Name}
	if err := r.Get(ctx, key, secret); err != nil {
		return err
	}
	for _, ref := range secret.OwnerReferences {
		if ref.Kind == "VSphereCluster" && ref.UID != c.UID {
			return fmt.Errorf("another cluster %s has set the OwnerRef for secret %s", ref.Name, key)
		}
	}
	before := client.MergeFrom(secret.DeepCopy())
	ref := metav1.OwnerReference{
		APIVersion: groupVersion.String(), Kind: "VSphereCluster", Name: c.Name, UID: c.UID,
	}
	held := util.HasOwnerRef(secret.OwnerReferences, ref) && controllerutil.ContainsFinalizer(secret, secretFinalizer)
	if held {
		return nil
	}
	secret.OwnerReferences = util.EnsureOwnerRef(secret.OwnerReferences, ref)
	controllerutil.AddFinalizer(secret, secretFinalizer)
	return r.Patch(ctx, secret, before)
}

func (r *reconcilers) deleteCluster(ctx context.Context, c *vSphereCluster, name string) (ctrl.Result, error) {
	l := &vSphereMachineList{}
	if err := r.List(ctx, l, client.InNamespace(c.Namespace),
		client.MatchingLabels{clusterv1.ClusterNameLabel: name}); err != nil {
		return ctrl.Result{}, err
	}
	if len(l.Items) > 0 {
		ctrl.LoggerFrom(ctx).Info("Waiting for the machines to be deleted", "count", len(l.Items))
		return ctrl.Result{RequeueAfter: 10 * time.Second}, nil
	}
	if c.Spec.IdentityRef != nil && c.Spec.IdentityRef.Kind == "Secret" {
		if err := r.dropIdentity(ctx, c); err != nil {
			return ctrl.Result{}, err
		}
	}
	controllerutil.RemoveFinalizer(c, clusterFinalizer)
	return ctrl.Result{}, nil
}

func (r *reconcilers) dropIdentity(ctx context.Context, c *vSphereCluster) error {
	secret := &corev1.Secret{}
	err := r.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: c.Spec.IdentityRef.Name}, secret)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	before := client.MergeFrom(secret.DeepCopy())
	if controllerutil.RemoveFinalizer(secret, secretFinalizer) {
		if err = r.Patch(ctx, secret, before); err != nil {
			return err
		}
	}
	return client.IgnoreNotFound(r.Delete(ctx, secret))
}
