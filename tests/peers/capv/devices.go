// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// deviceChanges are what a clone's devices have other than the template's: sizes of its disks, disks more, and network
// devices, none of which are the template's.
func (v *vcenter) deviceChanges(ctx context.Context, devices object.VirtualDeviceList, spec *CloneSpec,
	mode string) ([]types.BaseVirtualDeviceConfigSpec, error) {
	var changes []types.BaseVirtualDeviceConfigSpec
	var err error
	if mode == "fullClone" {
		if changes, err = grownDisks(devices, spec); err != nil {
			return nil, err
		}
	}
	more, err := dataDisks(devices, spec.DataDisks)
	if err != nil {
		return nil, err
	}
	changes = append(changes, more...)
	for _, nic := range devices.SelectByType((*types.VirtualEthernetCard)(nil)) {
		changes = append(changes, &types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: nic,
		})
	}
	nics, err := v.newNICs(ctx, spec.Network.Devices)
	return append(changes, nics...), err
}

// grownDisks sets the sizes of the template's own disks: diskGiB of the first, additionalDisksGiB of the others in their
// order. One that the template has not is not made. A linked clone keeps the template's sizes.
func grownDisks(devices object.VirtualDeviceList, spec *CloneSpec) ([]types.BaseVirtualDeviceConfigSpec, error) {
	disks := devices.SelectByType((*types.VirtualDisk)(nil))
	if len(disks) == 0 {
		return nil, fmt.Errorf("template %s has no disk", spec.Template)
	}
	var changes []types.BaseVirtualDeviceConfigSpec
	for i, d := range disks {
		disk, wanted := d.(*types.VirtualDisk), int64(spec.DiskGiB)<<20
		if i > 0 {
			wanted = 0
			if i <= len(spec.AdditionalDisksGiB) {
				wanted = int64(spec.AdditionalDisksGiB[i-1]) << 20
			}
		}
		if wanted == 0 {
			continue
		}
		if disk.CapacityInKB > wanted {
			return nil, fmt.Errorf("can't resize template disk down, initial capacity is larger: %dKiB > %dKiB",
				disk.CapacityInKB, wanted)
		}
		disk.CapacityInKB, disk.CapacityInBytes = wanted, wanted<<10
		changes = append(changes, &types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: disk,
		})
	}
	return changes, nil
}

// dataDisks are made on the controller of the template's first disk, on its next free units in their order, beside that
// disk (CAPV's docs/proposal/20241003-data-disk-support.md).
func dataDisks(devices object.VirtualDeviceList, wanted []dataDisk) ([]types.BaseVirtualDeviceConfigSpec, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	disks := devices.SelectByType((*types.VirtualDisk)(nil))
	if len(disks) == 0 {
		return nil, fmt.Errorf("the template has no disk that others could be added beside")
	}
	key := disks[0].GetVirtualDevice().ControllerKey
	used := map[int32]bool{}
	if c, ok := devices.FindByKey(key).(types.BaseVirtualSCSIController); ok {
		used[c.GetVirtualSCSIController().ScsiCtlrUnitNumber] = true
	}
	for _, d := range devices {
		if v := d.GetVirtualDevice(); v.ControllerKey == key && v.UnitNumber != nil {
			used[*v.UnitNumber] = true
		}
	}
	var changes []types.BaseVirtualDeviceConfigSpec
	unit := int32(0)
	for i, d := range wanted {
		for used[unit] {
			unit++
		}
		used[unit] = true
		backing := &types.VirtualDiskFlatVer2BackingInfo{DiskMode: string(types.VirtualDiskModePersistent)}
		if d.ProvisioningMode != "" {
			backing.ThinProvisioned = types.NewBool(d.ProvisioningMode == "Thin")
		}
		if d.ProvisioningMode == "EagerlyZeroed" {
			backing.EagerlyScrub = types.NewBool(true)
		}
		changes = append(changes, &types.VirtualDeviceConfigSpec{
			Operation:     types.VirtualDeviceConfigSpecOperationAdd,
			FileOperation: types.VirtualDeviceConfigSpecFileOperationCreate,
			Device: &types.VirtualDisk{
				VirtualDevice: types.VirtualDevice{
					Key: -200 - int32(i), ControllerKey: key, UnitNumber: types.NewInt32(unit), Backing: backing,
				},
				CapacityInKB: int64(d.SizeGiB) << 20,
			},
		})
	}
	return changes, nil
}

func (v *vcenter) newNICs(ctx context.Context, devices []networkDevice) ([]types.BaseVirtualDeviceConfigSpec, error) {
	var changes []types.BaseVirtualDeviceConfigSpec
	for i, d := range devices {
		network, err := v.finder.Network(ctx, d.NetworkName)
		if err != nil {
			return nil, fmt.Errorf("unable to find network %s: %w", d.NetworkName, err)
		}
		backing, err := network.EthernetCardBackingInfo(ctx)
		if err != nil {
			return nil, fmt.Errorf("unable to use network %s: %w", d.NetworkName, err)
		}
		device, err := object.EthernetCardTypes().CreateEthernetCard("vmxnet3", backing)
		if err != nil {
			return nil, err
		}
		nic := device.(types.BaseVirtualEthernetCard).GetVirtualEthernetCard()
		nic.Key = int32(-100 - i)
		if d.MACAddr != "" {
			nic.MacAddress = d.MACAddr
			nic.AddressType = string(types.VirtualEthernetCardMacTypeManual)
		}
		changes = append(changes, &types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: device,
		})
	}
	return changes, nil
}
