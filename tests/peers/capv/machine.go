// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"strings"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/cluster-api/util/patch"
	"sigs.k8s.io/cluster-api/util/paused"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

func (r *reconcilers) reconcileMachine(ctx context.Context, req ctrl.Request) (res ctrl.Result, err error) {
	log := ctrl.LoggerFrom(ctx)
	m := &vSphereMachine{}
	if err = r.Get(ctx, req.NamespacedName, m); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	machine, err := util.GetOwnerMachine(ctx, r.Client, m.ObjectMeta)
	if err != nil {
		return ctrl.Result{}, err
	}
	if machine == nil {
		log.Info("Waiting for Machine controller to set OwnerRef on VSphereMachine")
		return ctrl.Result{}, nil
	}
	cluster, err := util.GetClusterFromMetadata(ctx, r.Client, machine.ObjectMeta)
	if err != nil {
		log.Info("The Machine has no cluster label, or its Cluster does not exist", "why", err.Error())
		return ctrl.Result{}, nil
	}
	if is, again, err := paused.EnsurePausedCondition(ctx, r.Client, cluster, m); err != nil || is || again {
		return ctrl.Result{}, err
	}
	helper, err := patch.NewHelper(m, r.Client)
	if err != nil {
		return ctrl.Result{}, err
	}
	defer func() {
		summarize(ctx, m, vmProvisioned)
		if e := helper.Patch(ctx, m, ownedConditions); e != nil {
			err = kerrors.NewAggregate([]error{err, e})
		}
	}()
	if !m.DeletionTimestamp.IsZero() {
		return r.deleteMachine(ctx, m, machine)
	}
	if controllerutil.AddFinalizer(m, machineFinalizer) {
		return ctrl.Result{}, nil
	}
	infra := &vSphereCluster{}
	key := client.ObjectKey{Namespace: m.Namespace, Name: cluster.Spec.InfrastructureRef.Name}
	if err = r.Get(ctx, key, infra); err != nil {
		if apierrors.IsNotFound(err) {
			log.Info("Waiting for the VSphereCluster", "name", key.Name)
			setFalse(m, vmProvisioned, "WaitingForClusterInfrastructureReady", "VSphereCluster "+key.Name+" does not exist")
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, err
	}
	return r.provisionMachine(ctx, m, machine, cluster, infra)
}

func vmName(m *vSphereMachine, machine *clusterv1.Machine) (string, error) {
	if m.Spec.Naming == nil || m.Spec.Naming.Template == "" {
		return machine.Name, nil
	}
	t, err := template.New("name").Parse(m.Spec.Naming.Template)
	if err != nil {
		return "", fmt.Errorf("spec.naming.template: %w", err)
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{"machine": map[string]any{"name": machine.Name}})
	if err != nil {
		return "", fmt.Errorf("spec.naming.template: %w", err)
	}
	return b.String(), nil
}

func (r *reconcilers) provisionMachine(ctx context.Context, m *vSphereMachine, machine *clusterv1.Machine,
	cluster *clusterv1.Cluster, infra *vSphereCluster) (ctrl.Result, error) {
	log := ctrl.LoggerFrom(ctx)
	if !yes(cluster.Status.Initialization.InfrastructureProvisioned) {
		log.Info("Cluster infrastructure is not ready yet")
		setFalse(m, vmProvisioned, "WaitingForClusterInfrastructureReady", "")
		return ctrl.Result{}, nil
	}
	if machine.Spec.Bootstrap.DataSecretName == nil {
		reason := "WaitingForBootstrapData"
		if !util.IsControlPlaneMachine(machine) &&
			!conditions.IsTrue(cluster, clusterv1.ClusterControlPlaneInitializedCondition) {
			reason = "WaitingForControlPlaneInitialized"
		}
		log.Info("Waiting for bootstrap data to be available", "reason", reason)
		setFalse(m, vmProvisioned, reason, "")
		return ctrl.Result{}, nil
	}
	name, err := vmName(m, machine)
	if err != nil {
		return ctrl.Result{}, err
	}
	vm := &vSphereVM{ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: name}}
	place := r.inDomain(ctx, machine)
	_, err = controllerutil.CreateOrPatch(ctx, r.Client, vm, func() error {
		wantedVM(vm, m, machine, infra)
		place(vm)
		return nil
	})
	if err != nil {
		setFalse(m, vmProvisioned, "NotProvisioned", err.Error())
		return ctrl.Result{}, fmt.Errorf("failed to create or patch VSphereVM %s: %w", name, err)
	}
	return r.mirror(ctx, m, machine, vm)
}

// wantedVM sets what a VSphereVM has from its VSphereMachine: labels, owner and the clone
// specification. biosUUID stays what it is.
func wantedVM(vm *vSphereVM, m *vSphereMachine, machine *clusterv1.Machine, infra *vSphereCluster) {
	vm.OwnerReferences = util.EnsureOwnerRef(vm.OwnerReferences, metav1.OwnerReference{
		APIVersion: groupVersion.String(), Kind: "VSphereMachine", Name: m.Name, UID: m.UID,
	})
	if vm.Labels == nil {
		vm.Labels = map[string]string{}
	}
	for _, key := range []string{
		clusterv1.ClusterNameLabel, clusterv1.MachineControlPlaneLabel, clusterv1.MachineControlPlaneNameLabel,
		clusterv1.MachineDeploymentNameLabel, clusterv1.MachineSetNameLabel, clusterv1.MachineDeploymentUniqueLabel,
	} {
		if value, ok := machine.Labels[key]; ok {
			vm.Labels[key] = value
		}
	}
	os := vm.Spec.OS
	vm.Spec.CloneSpec = copied(m).Spec.CloneSpec
	if vm.Spec.OS == "" {
		vm.Spec.OS = os
	}
	if vm.Spec.Server == "" {
		vm.Spec.Server = infra.Spec.Server
	}
	if vm.Spec.Thumbprint == "" {
		vm.Spec.Thumbprint = infra.Spec.Thumbprint
	}
	vm.Spec.BootstrapRef = &corev1.LocalObjectReference{Name: *machine.Spec.Bootstrap.DataSecretName}
}

// mirror takes over what the VSphereVM says.
func (r *reconcilers) mirror(ctx context.Context, m *vSphereMachine, machine *clusterv1.Machine,
	vm *vSphereVM) (ctrl.Result, error) {
	if f := vm.Status.Deprecated; f != nil && f.V1Beta1 != nil && f.V1Beta1.FailureMessage != "" {
		m.Status.Deprecated = copied(f)
		m.Status.Deprecated.V1Beta1.Conditions = nil
		setFalse(m, vmProvisioned, "NotProvisioned", f.V1Beta1.FailureMessage)
		return ctrl.Result{}, nil
	}
	if !yes(vm.Status.Ready) || vm.Spec.BiosUUID == "" {
		reason, message := "NotProvisioned", "Waiting for VSphereVM "+vm.Name
		if c := conditions.Get(vm, clusterv1.ReadyCondition); c != nil && c.Message != "" {
			message = c.Message
		}
		setFalse(m, vmProvisioned, reason, message)
		return ctrl.Result{}, nil
	}
	m.Spec.ProviderID = "vsphere://" + strings.ToLower(vm.Spec.BiosUUID)
	m.Status.Addresses = nil
	for _, address := range vm.Status.Addresses {
		m.Status.Addresses = append(m.Status.Addresses,
			clusterv1.MachineAddress{Type: clusterv1.MachineExternalIP, Address: address})
	}
	m.Status.Addresses = append(m.Status.Addresses,
		clusterv1.MachineAddress{Type: clusterv1.MachineInternalDNS, Address: vm.Name})
	if !reflect.DeepEqual(m.Status.Network, vm.Status.Network) {
		m.Status.Network = copied(vm).Status.Network
	}
	m.Status.Initialization = &initialization{Provisioned: ptr.To(true)}
	m.Status.Deprecated = nil
	setTrue(m, vmProvisioned, "Provisioned")
	if host := vm.Status.Host; host != "" && machine.Labels[hostLabel] != host {
		before := client.MergeFrom(machine.DeepCopy())
		if machine.Labels == nil {
			machine.Labels = map[string]string{}
		}
		machine.Labels[hostLabel] = host
		return ctrl.Result{}, r.Patch(ctx, machine, before)
	}
	return ctrl.Result{}, nil
}

func (r *reconcilers) deleteMachine(ctx context.Context, m *vSphereMachine,
	machine *clusterv1.Machine) (ctrl.Result, error) {
	name, err := vmName(m, machine)
	if err != nil {
		return ctrl.Result{}, err
	}
	setFalse(m, vmProvisioned, "Deleting", "")
	vm := &vSphereVM{}
	err = r.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: name}, vm)
	if apierrors.IsNotFound(err) {
		controllerutil.RemoveFinalizer(m, machineFinalizer)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if vm.DeletionTimestamp.IsZero() {
		if err = r.Delete(ctx, vm); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
	}
	return ctrl.Result{RequeueAfter: 10 * time.Second}, nil
}
