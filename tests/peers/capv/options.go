// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/pbm"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25/types"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// ceiling is a quantity in units, rounded up: 500M processor are 500 MHz, 1Gi memory are 1024 MiB.
func ceiling(q *intstr.IntOrString, unit float64) (*int64, error) {
	if q == nil {
		return nil, nil
	}
	parsed, err := resource.ParseQuantity(q.String())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", q.String(), err)
	}
	if parsed.IsZero() {
		return nil, nil
	}
	return types.NewInt64(int64(math.Ceil(float64(parsed.Value()) / unit))), nil
}

func allocation(request, limit *intstr.IntOrString, shares int32, unit float64) (*types.ResourceAllocationInfo, error) {
	a := &types.ResourceAllocationInfo{}
	var err error
	if a.Reservation, err = ceiling(request, unit); err == nil {
		a.Limit, err = ceiling(limit, unit)
	}
	if shares > 0 {
		a.Shares = &types.SharesInfo{Shares: shares, Level: types.SharesLevelCustom}
	}
	if err != nil || (a.Reservation == nil && a.Limit == nil && a.Shares == nil) {
		return nil, err
	}
	return a, nil
}

func setResources(config *types.VirtualMachineConfigSpec, r *resources) (err error) {
	if r == nil {
		return nil
	}
	requests, limits, of := r.Requests, r.Limits, r.Shares
	if requests == nil {
		requests = &quantities{}
	}
	if limits == nil {
		limits = &quantities{}
	}
	if of == nil {
		of = &shares{}
	}
	if config.CpuAllocation, err = allocation(requests.CPU, limits.CPU, of.CPU, 1e6); err == nil {
		config.MemoryAllocation, err = allocation(requests.Memory, limits.Memory, of.Memory, 1<<20)
	}
	return err
}

// datastoreFor is the given one, else one that the storage policy takes, else the only one there is. A given one that the
// policy does not take is an error.
func (v *vcenter) datastoreFor(ctx context.Context, spec *CloneSpec, pool *object.ResourcePool) (types.ManagedObjectReference, error) {
	none := types.ManagedObjectReference{}
	if spec.StoragePolicyName == "" || spec.Datastore != "" {
		store, err := v.finder.DatastoreOrDefault(ctx, spec.Datastore)
		if err != nil || spec.StoragePolicyName == "" {
			if err != nil {
				return none, err
			}
			return store.Reference(), nil
		}
		return v.compatible(ctx, spec, []types.ManagedObjectReference{store.Reference()})
	}
	owner, err := pool.Owner(ctx)
	if err != nil {
		return none, err
	}
	stores, err := object.NewComputeResource(v.client.Client, owner.Reference()).Datastores(ctx)
	if err != nil {
		return none, err
	}
	var refs []types.ManagedObjectReference
	for _, s := range stores {
		refs = append(refs, s.Reference())
	}
	return v.compatible(ctx, spec, refs)
}

func (v *vcenter) compatible(ctx context.Context, spec *CloneSpec, stores []types.ManagedObjectReference) (types.ManagedObjectReference, error) {
	none := types.ManagedObjectReference{}
	c, profile, err := v.policy(ctx, spec.StoragePolicyName)
	if err != nil {
		return none, err
	}
	var hubs []pbmtypes.PbmPlacementHub
	for _, s := range stores {
		hubs = append(hubs, pbmtypes.PbmPlacementHub{HubType: s.Type, HubId: s.Value})
	}
	result, err := c.CheckRequirements(ctx, hubs, nil, []pbmtypes.BasePbmPlacementRequirement{
		&pbmtypes.PbmPlacementCapabilityProfileRequirement{ProfileId: pbmtypes.PbmProfileId{UniqueId: profile}},
	})
	if err != nil {
		return none, fmt.Errorf("unable to check requirements for storage policy: %w", err)
	}
	good := result.CompatibleDatastores()
	if len(good) == 0 {
		return none, fmt.Errorf("no compatible datastores found for storage policy: %s", spec.StoragePolicyName)
	}
	return types.ManagedObjectReference{Type: good[0].HubType, Value: good[0].HubId}, nil
}

func (v *vcenter) policy(ctx context.Context, name string) (*pbm.Client, string, error) {
	c, err := pbm.NewClient(ctx, v.client.Client)
	if err != nil {
		return nil, "", fmt.Errorf("unable to create pbm client: %w", err)
	}
	id, err := c.ProfileIDByName(ctx, name)
	if err != nil {
		return nil, "", fmt.Errorf("unable to retrieve storage profile ID: %w", err)
	}
	return c, id, nil
}

// setPolicy gives the policy to disks of a machine that is off; nil: all that the vCenter tells of have it. The
// simulator tells of none.
func (v *vcenter) setPolicy(ctx context.Context, vm *object.VirtualMachine, name string) (*object.Task, error) {
	c, profile, err := v.policy(ctx, name)
	if err != nil {
		return nil, err
	}
	devices, err := vm.Device(ctx)
	if err != nil {
		return nil, err
	}
	var asked []pbmtypes.PbmServerObjectRef
	disks := map[string]types.BaseVirtualDevice{}
	for _, d := range devices.SelectByType((*types.VirtualDisk)(nil)) {
		key := fmt.Sprintf("%s:%d", vm.Reference().Value, d.GetVirtualDevice().Key)
		disks[key] = d
		asked = append(asked, pbmtypes.PbmServerObjectRef{
			ObjectType: string(pbmtypes.PbmObjectTypeVirtualDiskId), Key: key,
		})
	}
	have, err := c.QueryAssociatedProfiles(ctx, asked)
	if err != nil {
		return nil, fmt.Errorf("unable to query disks associated profiles: %w", err)
	}
	of := []types.BaseVirtualMachineProfileSpec{&types.VirtualMachineDefinedProfileSpec{ProfileId: profile}}
	var changes []types.BaseVirtualDeviceConfigSpec
	for _, h := range have {
		good := false
		for _, id := range h.ProfileId {
			good = good || id.UniqueId == profile
		}
		if d := disks[h.Object.Key]; !good && d != nil {
			changes = append(changes, &types.VirtualDeviceConfigSpec{
				Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: d, Profile: of,
			})
		}
	}
	if len(changes) == 0 {
		return nil, nil
	}
	return vm.Reconfigure(ctx, types.VirtualMachineConfigSpec{VmProfile: of, DeviceChange: changes})
}

// olderThan compares hardware versions, vmx-19.
func olderThan(have, wanted string) (bool, error) {
	a, err := strconv.Atoi(strings.TrimPrefix(have, "vmx-"))
	if err != nil {
		return false, fmt.Errorf("failed to parse hardware version %q: %w", have, err)
	}
	b, err := strconv.Atoi(strings.TrimPrefix(wanted, "vmx-"))
	if err != nil {
		return false, fmt.Errorf("failed to parse hardware version %q: %w", wanted, err)
	}
	return a < b, nil
}

// attachTags attaches them at each look, which changes nothing where they are.
func (v *vcenter) attachTags(ctx context.Context, vm *object.VirtualMachine, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	if err := tags.NewManager(v.rest).AttachMultipleTagsToObject(ctx, ids, vm.Reference()); err != nil {
		return fmt.Errorf("failed to attach tags %v: %w", ids, err)
	}
	return nil
}
