// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ipamv1 "sigs.k8s.io/cluster-api/api/ipam/v1beta2"
	"sigs.k8s.io/cluster-api/util"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/cluster-api/util/patch"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// reconcilers is what the four controllers share.
type reconcilers struct {
	client.Client
	sessions  *sessions
	namespace string // the manager's own
	user      string // the manager's own, for a cluster that names no identity
	password  string
	waits     *waits
}

// appears lets through what has not been there before.
var appears = predicate.Funcs{
	UpdateFunc:  func(event.UpdateEvent) bool { return false },
	DeleteFunc:  func(event.DeleteEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
}

var atOnce = controller.Options{MaxConcurrentReconciles: 10}

func (r *reconcilers) setup(mgr ctrl.Manager) error {
	owned := []string{clusterv1.PausedCondition, clusterv1.ReadyCondition, vCenterAvailable, claimsFulfilled, vmProvisioned}
	ownedConditions = patch.WithOwnedConditions{Conditions: owned}
	clusterGVK := groupVersion.WithKind("VSphereCluster")
	err := ctrl.NewControllerManagedBy(mgr).For(&vSphereCluster{}).Named("vspherecluster").
		WithOptions(atOnce).
		Watches(&clusterv1.Cluster{}, handler.EnqueueRequestsFromMapFunc(
			util.ClusterToInfrastructureMapFunc(context.Background(), clusterGVK, r.Client, &vSphereCluster{}))).
		Watches(&vSphereDeploymentZone{}, handler.EnqueueRequestsFromMapFunc(r.clustersOfZone)).
		Complete(reconcile.Func(r.reconcileCluster))
	if err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(mgr).For(&vSphereDeploymentZone{}).Named("vspheredeploymentzone").
		WithOptions(atOnce).
		Watches(&vSphereCluster{}, handler.EnqueueRequestsFromMapFunc(r.zonesOnServer), builder.WithPredicates(appears)).
		Watches(&vSphereFailureDomain{}, handler.EnqueueRequestsFromMapFunc(r.zonesOnServer)).
		Complete(reconcile.Func(r.reconcileZone))
	if err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(mgr).For(&vSphereMachine{}).Named("vspheremachine").
		WithOptions(atOnce).
		Watches(&clusterv1.Machine{}, handler.EnqueueRequestsFromMapFunc(
			util.MachineToInfrastructureMapFunc(groupVersion.WithKind("VSphereMachine")))).
		Watches(&vSphereVM{}, handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &vSphereMachine{})).
		Watches(&clusterv1.Cluster{}, handler.EnqueueRequestsFromMapFunc(r.machinesOf)).
		Watches(&vSphereCluster{}, handler.EnqueueRequestsFromMapFunc(r.machinesOf)).
		Complete(reconcile.Func(r.reconcileMachine))
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).For(&vSphereVM{}).Named("vspherevm").
		WithOptions(atOnce).
		Watches(&clusterv1.Cluster{}, handler.EnqueueRequestsFromMapFunc(r.vmsOf)).
		Watches(&vSphereCluster{}, handler.EnqueueRequestsFromMapFunc(r.vmsOf)).
		Watches(&ipamv1.IPAddressClaim{}, handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &vSphereVM{})).
		WatchesRawSource(source.Channel(r.waits.events, &handler.EnqueueRequestForObject{})).
		Complete(reconcile.Func(r.reconcileVM))
}

// clusterName is that of a Cluster, or of an object that belongs to one.
func clusterName(o client.Object) string {
	if _, ok := o.(*clusterv1.Cluster); ok {
		return o.GetName()
	}
	return o.GetLabels()[clusterv1.ClusterNameLabel]
}

func (r *reconcilers) machinesOf(ctx context.Context, o client.Object) []reconcile.Request {
	l := &vSphereMachineList{}
	var all []reconcile.Request
	if r.List(ctx, l, client.InNamespace(o.GetNamespace()),
		client.MatchingLabels{clusterv1.ClusterNameLabel: clusterName(o)}) == nil {
		for i := range l.Items {
			all = append(all, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&l.Items[i])})
		}
	}
	return all
}

func (r *reconcilers) vmsOf(ctx context.Context, o client.Object) []reconcile.Request {
	l := &vSphereVMList{}
	var all []reconcile.Request
	if r.List(ctx, l, client.InNamespace(o.GetNamespace()),
		client.MatchingLabels{clusterv1.ClusterNameLabel: clusterName(o)}) == nil {
		for i := range l.Items {
			all = append(all, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&l.Items[i])})
		}
	}
	return all
}

var ownedConditions patch.WithOwnedConditions

func set(o conditions.Setter, kind string, status metav1.ConditionStatus, reason, message string) {
	conditions.Set(o, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message})
}

func setTrue(o conditions.Setter, kind, reason string) {
	set(o, kind, metav1.ConditionTrue, reason, "")
}

func setFalse(o conditions.Setter, kind, reason, message string) {
	set(o, kind, metav1.ConditionFalse, reason, message)
}

// summarize sets Ready from the conditions of the given kinds.
func summarize(ctx context.Context, o conditions.Setter, kinds ...string) {
	reasons := conditions.GetDefaultComputeMergeReasonFunc(clusterv1.NotReadyReason, clusterv1.ReadyUnknownReason,
		clusterv1.ReadyReason)
	err := conditions.SetSummaryCondition(o, o, clusterv1.ReadyCondition, conditions.ForConditionTypes(kinds),
		conditions.IgnoreTypesIfMissing{claimsFulfilled},
		conditions.CustomMergeStrategy{
			MergeStrategy: conditions.DefaultMergeStrategy(conditions.ComputeReasonFunc(reasons)),
		})
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to set the Ready condition")
	}
}

func yes(b *bool) bool { return b != nil && *b }

// waits holds what the controllers wait for in a vCenter, one thing for each VSphereVM; its end is an
// event for that object. A task that was started is remembered here too: the object that comes from
// the cache next may not know of it yet.
type waits struct {
	events chan event.GenericEvent
	mu     sync.Mutex
	busy   map[types.NamespacedName]bool
	tasks  map[types.NamespacedName]string
}

func newWaits() *waits {
	return &waits{
		events: make(chan event.GenericEvent, 64), busy: map[types.NamespacedName]bool{},
		tasks: map[types.NamespacedName]string{},
	}
}

func (w *waits) setTask(vm *vSphereVM, ref string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ref == "" {
		delete(w.tasks, client.ObjectKeyFromObject(vm))
	} else {
		w.tasks[client.ObjectKeyFromObject(vm)] = ref
	}
}

func (w *waits) task(vm *vSphereVM) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ref := w.tasks[client.ObjectKeyFromObject(vm)]; ref != "" {
		return ref
	}
	return vm.Status.TaskRef
}

func (w *waits) start(ctx context.Context, vm *vSphereVM, wait func(context.Context) error) {
	key := client.ObjectKeyFromObject(vm)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy[key] {
		return
	}
	w.busy[key] = true
	log := ctrl.LoggerFrom(ctx)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), waitAtMost)
		defer cancel()
		if err := wait(ctx); err != nil && ctx.Err() == nil {
			log.V(4).Info("Waiting ended", "why", err.Error())
		}
		w.mu.Lock()
		delete(w.busy, key)
		w.mu.Unlock()
		w.events <- event.GenericEvent{Object: &vSphereVM{ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name,
		}}}
	}()
}
