// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

const (
	waitAtMost     = 2 * time.Minute
	retryAfter     = time.Minute
	softOffDefault = 5 * time.Minute
	guestSoftOff   = "GuestSoftPowerOffSucceeded"
	softOffStarted = "GuestSoftPowerOffInProgress"
)

func (r *reconcilers) reconcileVM(ctx context.Context, req ctrl.Request) (res ctrl.Result, err error) {
	log := ctrl.LoggerFrom(ctx)
	vm := &vSphereVM{}
	if err = r.Get(ctx, req.NamespacedName, vm); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	cluster, err := util.GetClusterFromMetadata(ctx, r.Client, vm.ObjectMeta)
	if err != nil {
		log.Info("The VSphereVM has no cluster label, or its Cluster does not exist", "why", err.Error())
		return ctrl.Result{}, nil
	}
	if is, again, err := paused.EnsurePausedCondition(ctx, r.Client, cluster, vm); err != nil || is || again {
		return ctrl.Result{}, err
	}
	owner, err := r.ownerOf(ctx, vm)
	if err != nil {
		return ctrl.Result{}, err
	}
	if owner == nil {
		log.Info("Owner VSphereMachine not found, won't reconcile")
		return ctrl.Result{}, nil
	}
	infra := &vSphereCluster{}
	key := client.ObjectKey{Namespace: vm.Namespace, Name: cluster.Spec.InfrastructureRef.Name}
	if err = r.Get(ctx, key, infra); err != nil {
		return ctrl.Result{}, fmt.Errorf("failed to get VSphereCluster %s: %w", key, err)
	}
	helper, err := patch.NewHelper(vm, r.Client)
	if err != nil {
		return ctrl.Result{}, err
	}
	defer func() {
		summarize(ctx, vm, vCenterAvailable, claimsFulfilled, vmProvisioned)
		owned := ownedConditions
		owned.Conditions = append([]string{guestSoftOff}, owned.Conditions...)
		if e := helper.Patch(ctx, vm, owned); e != nil {
			err = kerrors.NewAggregate([]error{err, e})
		}
	}()
	v, err := r.session(ctx, infra, &vm.Spec.CloneSpec)
	if err != nil {
		setFalse(vm, vCenterAvailable, "VCenterUnreachable", err.Error())
		return ctrl.Result{}, err
	}
	setTrue(vm, vCenterAvailable, "VCenterAvailable")
	if !vm.DeletionTimestamp.IsZero() {
		return r.deleteVM(ctx, v, vm)
	}
	if controllerutil.AddFinalizer(vm, vmFinalizer) {
		return ctrl.Result{}, nil // written before anything is made; that is an event
	}
	if !yes(cluster.Status.Initialization.InfrastructureProvisioned) {
		log.Info("Cluster infrastructure is not ready yet")
		setFalse(vm, vmProvisioned, "WaitingForClusterInfrastructureReady", "")
		return ctrl.Result{}, nil
	}
	if waitsForAddress(vm) {
		log.Info("VM is waiting for static ip to be available")
		setFalse(vm, vmProvisioned, "WaitingForStaticIPAllocation", "")
		return ctrl.Result{}, nil
	}
	if err = r.reconcileClaims(ctx, vm); err != nil {
		return ctrl.Result{}, err
	}
	return r.provisionVM(ctx, v, vm)
}

func (r *reconcilers) ownerOf(ctx context.Context, vm *vSphereVM) (*vSphereMachine, error) {
	for _, ref := range vm.OwnerReferences {
		gv, err := schema.ParseGroupVersion(ref.APIVersion)
		if err != nil || ref.Kind != "VSphereMachine" || gv.Group != group {
			continue
		}
		m := &vSphereMachine{}
		err = r.Get(ctx, client.ObjectKey{Namespace: vm.Namespace, Name: ref.Name}, m)
		if client.IgnoreNotFound(err) != nil {
			return nil, err
		}
		if err == nil {
			return m, nil
		}
	}
	return nil, nil
}

// inFlight says whether a task of this machine still runs. One that failed is noted, and nothing is
// done for a minute.
func (r *reconcilers) inFlight(ctx context.Context, v *vcenter, vm *vSphereVM) (bool, ctrl.Result, error) {
	if vm.Status.TaskRef = r.waits.task(vm); vm.Status.TaskRef != "" {
		ref := types.ManagedObjectReference{Type: "Task", Value: vm.Status.TaskRef}
		var task mo.Task
		err := property.DefaultCollector(v.client.Client).RetrieveOne(ctx, ref, []string{"info"}, &task)
		if err != nil && !fault.Is(err, &types.ManagedObjectNotFound{}) {
			return false, ctrl.Result{}, err
		}
		if err == nil {
			switch task.Info.State {
			case types.TaskInfoStateQueued, types.TaskInfoStateRunning:
				r.follow(ctx, v, vm)
				return true, ctrl.Result{RequeueAfter: waitAtMost}, nil
			case types.TaskInfoStateError:
				message := task.Info.DescriptionId + " failed"
				if task.Info.Error != nil {
					message += ": " + task.Info.Error.LocalizedMessage
					message += fmt.Sprintf(" (%T)", task.Info.Error.Fault)
				}
				ctrl.LoggerFrom(ctx).Info("A task failed", "task", ref.Value, "why", message)
				setFalse(vm, vmProvisioned, "TaskFailed", message)
				vm.Status.RetryAfter = &metav1.Time{Time: time.Now().Add(retryAfter)}
			}
		}
		vm.Status.TaskRef = ""
		r.waits.setTask(vm, "")
	}
	if at := vm.Status.RetryAfter; at != nil {
		if left := time.Until(at.Time); left > 0 {
			return true, ctrl.Result{RequeueAfter: left}, nil
		}
		vm.Status.RetryAfter = nil
	}
	return false, ctrl.Result{}, nil
}

// follow has the object looked at again when its task ends.
func (r *reconcilers) follow(ctx context.Context, v *vcenter, vm *vSphereVM) {
	task := object.NewTask(v.client.Client, types.ManagedObjectReference{Type: "Task", Value: vm.Status.TaskRef})
	r.waits.start(ctx, vm, func(ctx context.Context) error {
		_, err := task.WaitForResult(ctx)
		return err
	})
}

func (r *reconcilers) started(ctx context.Context, v *vcenter, vm *vSphereVM, task *object.Task,
	reason string) (ctrl.Result, error) {
	vm.Status.TaskRef = task.Reference().Value
	r.waits.setTask(vm, vm.Status.TaskRef)
	setFalse(vm, vmProvisioned, reason, "")
	r.follow(ctx, v, vm)
	return ctrl.Result{RequeueAfter: waitAtMost}, nil
}

func fail(vm *vSphereVM, reason, message string) {
	vm.Status.Deprecated = &failure{V1Beta1: &failureText{FailureReason: reason, FailureMessage: message}}
	vm.Status.Ready = ptr.To(false)
}

func (r *reconcilers) provisionVM(ctx context.Context, v *vcenter, vm *vSphereVM) (ctrl.Result, error) {
	busy, res, err := r.inFlight(ctx, v, vm)
	if busy || err != nil {
		return res, err
	}
	found, err := v.findVM(ctx, vm)
	var gone *errGone
	if errors.As(err, &gone) {
		// It is never made anew: its disks may be alive somewhere.
		ctrl.LoggerFrom(ctx).Error(err, "The machine is in an error state")
		fail(vm, "UpdateError", err.Error())
		setFalse(vm, vmProvisioned, "NotFoundByBIOSUUID", err.Error())
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if found == nil {
		return r.createVM(ctx, v, vm)
	}
	var have mo.VirtualMachine
	err = found.Properties(ctx, found.Reference(), []string{"config", "runtime", "guest"}, &have)
	if err != nil {
		return ctrl.Result{}, err
	}
	if have.Config == nil {
		return ctrl.Result{}, fmt.Errorf("%s has no configuration yet", found.Reference())
	}
	if vm.Spec.BiosUUID == "" {
		vm.Spec.BiosUUID = have.Config.Uuid
	}
	vm.Status.VMRef = found.Reference().String()
	vm.Status.Deprecated = nil

	if vm.Spec.HardwareVersion != "" {
		older, err := olderThan(have.Config.Version, vm.Spec.HardwareVersion)
		if err != nil {
			return ctrl.Result{}, err
		}
		if older {
			ctrl.LoggerFrom(ctx).Info("Upgrading hardware version", "from", have.Config.Version, "to", vm.Spec.HardwareVersion)
			task, err := found.UpgradeVM(ctx, vm.Spec.HardwareVersion)
			if err != nil {
				return ctrl.Result{}, err
			}
			return r.started(ctx, v, vm, task, "UpgradingHardware")
		}
	}
	vm.Status.Network = nics(&have)
	return r.configureVM(ctx, v, vm, found, &have)
}

// configureVM writes the metadata, which needs the addresses of the machine's devices, and powers it on.
func (r *reconcilers) configureVM(ctx context.Context, v *vcenter, vm *vSphereVM, found *object.VirtualMachine,
	have *mo.VirtualMachine) (ctrl.Result, error) {
	devices, all, err := r.devicesOf(ctx, vm)
	if err != nil {
		setFalse(vm, vmProvisioned, "NotProvisioned", err.Error())
		return ctrl.Result{}, err
	}
	if !all {
		ctrl.LoggerFrom(ctx).Info("Waiting for ip address claims to be bound")
		setFalse(vm, vmProvisioned, "WaitingForIPAddress", "waiting for IP address claims to be bound")
		return ctrl.Result{}, nil // a claim that is bound is an event
	}
	macs := make([]string, len(vm.Status.Network))
	for i, n := range vm.Status.Network {
		macs[i] = n.MACAddr
	}
	text, err := metadata(vm.Name, vm.Spec.Network.Devices, devices, macs, vm.Spec.Network.Routes)
	if err != nil {
		setFalse(vm, vmProvisioned, "NotProvisioned", err.Error())
		return ctrl.Result{}, err
	}
	if metadataOf(have.Config.ExtraConfig) != text {
		ctrl.LoggerFrom(ctx).Info("Writing the metadata")
		task, err := setMetadata(ctx, found, text)
		if err != nil {
			return ctrl.Result{}, err
		}
		return r.started(ctx, v, vm, task, "WritingMetadata")
	}
	if have.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
		if vm.Spec.StoragePolicyName != "" {
			task, err := v.setPolicy(ctx, found, vm.Spec.StoragePolicyName)
			if err != nil {
				return ctrl.Result{}, err
			}
			if task != nil {
				return r.started(ctx, v, vm, task, "SettingStoragePolicy")
			}
		}
		ctrl.LoggerFrom(ctx).Info("Powering on")
		task, err := found.PowerOn(ctx)
		if err != nil {
			return ctrl.Result{}, err
		}
		return r.started(ctx, v, vm, task, "PoweringOn")
	}
	if err = v.attachTags(ctx, found, vm.Spec.TagIDs); err != nil {
		setFalse(vm, vmProvisioned, "NotProvisioned", err.Error())
		return ctrl.Result{}, err
	}
	return r.readyVM(ctx, v, vm, found, have)
}

func (r *reconcilers) createVM(ctx context.Context, v *vcenter, vm *vSphereVM) (ctrl.Result, error) {
	var data []byte
	format := "cloud-config"
	if vm.Spec.BootstrapRef != nil {
		secret := &corev1.Secret{}
		key := client.ObjectKey{Namespace: vm.Namespace, Name: vm.Spec.BootstrapRef.Name}
		if err := r.Get(ctx, key, secret); err != nil {
			setFalse(vm, vmProvisioned, "CloningFailed", err.Error())
			return ctrl.Result{}, fmt.Errorf("failed to get the bootstrap data secret %s: %w", key, err)
		}
		var ok bool
		if data, ok = secret.Data["value"]; !ok {
			err := fmt.Errorf("error retrieving bootstrap data: secret %s has no value key", key)
			setFalse(vm, vmProvisioned, "CloningFailed", err.Error())
			return ctrl.Result{}, err
		}
		if f := string(secret.Data["format"]); f != "" {
			format = f
		}
	}
	c, err := v.clone(ctx, vm, data, format)
	if err != nil {
		setFalse(vm, vmProvisioned, "CloningFailed", err.Error())
		return ctrl.Result{}, fmt.Errorf("error creating clone of %s: %w", vm.Name, err)
	}
	vm.Status.CloneMode, vm.Status.Snapshot = c.mode, c.snapshot
	return r.started(ctx, v, vm, c.task, "Cloning")
}

func (r *reconcilers) readyVM(ctx context.Context, v *vcenter, vm *vSphereVM, found *object.VirtualMachine,
	have *mo.VirtualMachine) (ctrl.Result, error) {
	vm.Status.Addresses = nil
	for _, n := range vm.Status.Network {
		vm.Status.Addresses = append(vm.Status.Addresses, n.IPAddrs...)
	}
	if len(vm.Status.Addresses) == 0 { // one is enough, of whatever device
		vm.Status.Ready = ptr.To(false)
		setFalse(vm, vmProvisioned, "WaitingForIPAllocation", "")
		r.waits.start(ctx, vm, func(ctx context.Context) error { return waitForGuest(ctx, found) })
		return ctrl.Result{RequeueAfter: waitAtMost}, nil
	}
	if ref := have.Runtime.Host; ref != nil {
		host, err := object.NewHostSystem(v.client.Client, *ref).ObjectName(ctx)
		if err != nil {
			return ctrl.Result{}, err
		}
		vm.Status.Host = host
	}
	vm.Status.Ready = ptr.To(true)
	setTrue(vm, vmProvisioned, "Provisioned")
	return ctrl.Result{}, nil
}

func (r *reconcilers) deleteVM(ctx context.Context, v *vcenter, vm *vSphereVM) (ctrl.Result, error) {
	busy, res, err := r.inFlight(ctx, v, vm)
	if busy || err != nil {
		return res, err
	}
	found, err := v.findVM(ctx, vm)
	var gone *errGone
	if errors.As(err, &gone) || (err == nil && found == nil) {
		ctrl.LoggerFrom(ctx).Info("The machine is gone")
		if err = r.releaseClaims(ctx, vm); err != nil {
			return ctrl.Result{}, err
		}
		controllerutil.RemoveFinalizer(vm, vmFinalizer)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	state, err := found.PowerState(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	if state == types.VirtualMachinePowerStatePoweredOn {
		return r.powerOff(ctx, v, vm, found)
	}
	ctrl.LoggerFrom(ctx).Info("Destroying the machine")
	task, err := found.Destroy(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	return r.started(ctx, v, vm, task, clusterv1.DeletingReason)
}

func (r *reconcilers) powerOff(ctx context.Context, v *vcenter, vm *vSphereVM,
	found *object.VirtualMachine) (ctrl.Result, error) {
	if mode := vm.Spec.PowerOffMode; mode == "soft" || mode == "trySoft" {
		timeout := softOffDefault
		if s := vm.Spec.GuestSoftPowerOffTimeoutSecond; s > 0 {
			timeout = time.Duration(s) * time.Second
		}
		c := conditions.Get(vm, guestSoftOff)
		if c == nil || c.Reason != softOffStarted {
			ctrl.LoggerFrom(ctx).Info("Asking the guest to shut down")
			if err := found.ShutdownGuest(ctx); err != nil && mode == "soft" {
				return ctrl.Result{}, err
			} else if err == nil {
				setFalse(vm, guestSoftOff, softOffStarted, "")
				return ctrl.Result{RequeueAfter: time.Second}, nil
			}
		} else if left := timeout - time.Since(c.LastTransitionTime.Time); left > 0 || mode == "soft" {
			return ctrl.Result{RequeueAfter: max(time.Second, min(left, 5*time.Second))}, nil
		}
	}
	ctrl.LoggerFrom(ctx).Info("Powering off")
	task, err := found.PowerOff(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	return r.started(ctx, v, vm, task, clusterv1.DeletingReason)
}
