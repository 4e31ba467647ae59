// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
	ctrl "sigs.k8s.io/controller-runtime"
)

// errGone is the answer for a VSphereVM with a biosUUID that no machine has.
type errGone struct{ uuid string }

func (e *errGone) Error() string {
	return "Unable to find VM by BIOS UUID " + e.uuid + ". The vm was removed from infra"
}

// findVM looks for the machine: by biosUUID alone where there is one, else by the object's uid as
// instance uuid, else by folder and name. nil without an error: there is none yet.
func (v *vcenter) findVM(ctx context.Context, vm *vSphereVM) (*object.VirtualMachine, error) {
	index := object.NewSearchIndex(v.client.Client)
	if vm.Spec.BiosUUID != "" {
		ref, err := index.FindByUuid(ctx, v.dc, vm.Spec.BiosUUID, true, types.NewBool(false))
		if err != nil {
			return nil, err
		}
		if ref == nil {
			return nil, &errGone{vm.Spec.BiosUUID}
		}
		return object.NewVirtualMachine(v.client.Client, ref.Reference()), nil
	}
	ref, err := index.FindByUuid(ctx, v.dc, string(vm.UID), true, types.NewBool(true))
	if err != nil {
		return nil, err
	}
	if ref == nil {
		folder, err := v.finder.FolderOrDefault(ctx, vm.Spec.Folder)
		if err != nil {
			return nil, err
		}
		if ref, err = index.FindByInventoryPath(ctx, path.Join(folder.InventoryPath, vm.Name)); err != nil {
			return nil, err
		}
		if found, ok := ref.(*object.VirtualMachine); ref != nil && (!ok || found == nil) {
			return nil, fmt.Errorf("%s in %s is no virtual machine", vm.Name, folder.InventoryPath)
		}
	}
	if ref == nil {
		return nil, nil
	}
	return object.NewVirtualMachine(v.client.Client, ref.Reference()), nil
}

func (v *vcenter) findTemplate(ctx context.Context, name string) (*object.VirtualMachine, error) {
	if isUUID(name) {
		ref, err := object.NewSearchIndex(v.client.Client).FindByUuid(ctx, v.dc, name, true, types.NewBool(true))
		if err != nil {
			return nil, err
		}
		if ref == nil {
			return nil, fmt.Errorf("unable to find template by instance uuid %s", name)
		}
		return object.NewVirtualMachine(v.client.Client, ref.Reference()), nil
	}
	return v.finder.VirtualMachine(ctx, name)
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range s {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || (!dash && !strings.ContainsRune("0123456789abcdefABCDEF", c)) {
			return false
		}
	}
	return true
}

// refusedFields are those that this stand-in would silently pass by: it refuses a machine with one.
func refusedFields(spec *CloneSpec) []string {
	var fields []string
	for name, set := range map[string]bool{
		"pciDevices": len(spec.PCIDevices) > 0, "cryptoKeyID": spec.CryptoKeyID != "",
		"cryptoProfile": spec.CryptoProfile != "", "nestedHV": spec.NestedHV != nil,
		"ftEncryptionMode": spec.FTEncryptionMode != "", "migrateEncryption": spec.MigrateEncryption != "",
	} {
		if set {
			fields = append(fields, name)
		}
	}
	for _, d := range spec.Network.Devices {
		if d.DHCP4Overrides != nil || d.DHCP6Overrides != nil {
			fields = append(fields, "network.devices[].dhcp4Overrides")
		}
	}
	return fields
}

type cloned struct {
	task           *object.Task
	mode, snapshot string
}

// clone starts the clone of a machine that is not there yet.
func (v *vcenter) clone(ctx context.Context, vm *vSphereVM, data []byte, format string) (*cloned, error) {
	spec := &vm.Spec.CloneSpec
	if bad := refusedFields(spec); len(bad) > 0 {
		return nil, fmt.Errorf("this stand-in does not do %s", strings.Join(bad, ", "))
	}
	tpl, err := v.findTemplate(ctx, spec.Template)
	if err != nil {
		return nil, err
	}
	folder, err := v.finder.FolderOrDefault(ctx, spec.Folder)
	if err != nil {
		return nil, fmt.Errorf("unable to get folder for %s: %w", vm.Name, err)
	}
	pool, err := v.finder.ResourcePoolOrDefault(ctx, spec.ResourcePool)
	if err != nil {
		return nil, fmt.Errorf("unable to get resource pool for %s: %w", vm.Name, err)
	}
	store, err := v.datastoreFor(ctx, spec, pool)
	if err != nil {
		return nil, fmt.Errorf("unable to get datastore for %s: %w", vm.Name, err)
	}
	var have mo.VirtualMachine
	if err = tpl.Properties(ctx, tpl.Reference(), []string{"config", "snapshot"}, &have); err != nil {
		return nil, err
	}
	if have.Config == nil {
		return nil, fmt.Errorf("template %s has no configuration", spec.Template)
	}

	c := &cloned{}
	snapshot, err := chooseMode(ctx, tpl, &have, spec, c)
	if err != nil {
		return nil, err
	}
	changes, err := v.deviceChanges(ctx, object.VirtualDeviceList(have.Config.Hardware.Device), spec, c.mode)
	if err != nil {
		return nil, err
	}
	location := types.VirtualMachineRelocateSpec{
		Folder: types.NewReference(folder.Reference()), Pool: types.NewReference(pool.Reference()),
		Datastore:    &store,
		DiskMoveType: string(types.VirtualMachineRelocateDiskMoveOptionsMoveAllDiskBackingsAndConsolidate),
	}
	if snapshot != nil {
		location.DiskMoveType = string(types.VirtualMachineRelocateDiskMoveOptionsCreateNewChildDiskBacking)
	}
	config := &types.VirtualMachineConfigSpec{
		Annotation:        "clone of " + spec.Template,
		InstanceUuid:      string(vm.UID),
		Flags:             &types.VirtualMachineFlagInfo{DiskUuidEnabled: types.NewBool(true)},
		DeviceChange:      changes,
		NumCPUs:           max(2, spec.NumCPUs),
		MemoryMB:          spec.MemoryMiB,
		VAppConfigRemoved: types.NewBool(true),
		ExtraConfig:       extraConfig(have.Config.ExtraConfig, vm, data, format),
	}
	if config.MemoryMB == 0 {
		config.MemoryMB = 2048
	}
	if spec.NumCoresPerSocket > 0 {
		config.NumCoresPerSocket = types.NewInt32(spec.NumCoresPerSocket)
	} else {
		config.NumCoresPerSocket = types.NewInt32(config.NumCPUs)
	}
	if err = setResources(config, spec.Resources); err != nil {
		return nil, fmt.Errorf("resources of %s: %w", vm.Name, err)
	}
	ctrl.LoggerFrom(ctx).Info("Cloning the machine", "mode", c.mode, "template", spec.Template)
	c.task, err = tpl.Clone(ctx, folder, vm.Name, types.VirtualMachineCloneSpec{
		Config: config, Location: location, Snapshot: snapshot, PowerOn: false, Template: false,
	})
	return c, err
}

// chooseMode takes a linked clone unless a full one was asked for or there is nothing to link to, as with a snapshot that
// the template has not: the log alone tells of that.
func chooseMode(ctx context.Context, tpl *object.VirtualMachine, have *mo.VirtualMachine, spec *CloneSpec,
	c *cloned) (*types.ManagedObjectReference, error) {
	c.mode = "fullClone"
	if spec.CloneMode == "fullClone" {
		return nil, nil
	}
	if spec.Snapshot != "" {
		ref, err := tpl.FindSnapshot(ctx, spec.Snapshot)
		if err != nil {
			ctrl.LoggerFrom(ctx).Info("Failed to find snapshot", "snapshotName", spec.Snapshot)
			return nil, nil
		}
		c.mode, c.snapshot = "linkedClone", ref.Value
		return ref, nil
	}
	if have.Snapshot == nil || have.Snapshot.CurrentSnapshot == nil {
		return nil, nil
	}
	c.mode, c.snapshot = "linkedClone", have.Snapshot.CurrentSnapshot.Value
	return have.Snapshot.CurrentSnapshot, nil
}

// extraConfig is the template's own, as vCenter copies it into a clone and the simulator does not,
// then the user data, then the keys of the object.
func extraConfig(template []types.BaseOptionValue, vm *vSphereVM, data []byte, format string) []types.BaseOptionValue {
	key := "guestinfo.userdata"
	if format == "ignition" {
		key = "guestinfo.ignition.config.data"
	}
	ours := map[string]string{}
	var all []types.BaseOptionValue
	set := func(k, value string) {
		if _, twice := ours[k]; !twice {
			ours[k] = value
			all = append(all, &types.OptionValue{Key: k, Value: value})
		}
	}
	for k, value := range vm.Spec.CustomVMXKeys {
		set(k, value)
	}
	if data != nil {
		set(key, base64.StdEncoding.EncodeToString(data))
		set(key+".encoding", "base64")
	}
	for _, option := range template {
		if o := option.GetOptionValue(); o != nil {
			set(o.Key, fmt.Sprint(o.Value))
		}
	}
	return all
}

// metadata is the text that cloud-init reads, which is compared byte for byte with what a machine has. devices are those
// of the specification with the addresses of their pools, for which nothing waits.
func metadata(name string, spec, devices []networkDevice, macs []string, routes []route) (string, error) {
	if len(macs) < len(devices) {
		return "", fmt.Errorf("the machine has %d network devices, %d are asked for", len(macs), len(devices))
	}
	var b strings.Builder
	line := func(depth int, format string, args ...any) {
		b.WriteString("\n" + strings.Repeat("  ", depth))
		fmt.Fprintf(&b, format, args...)
	}
	strs := func(depth int, key string, values []string) {
		if len(values) == 0 {
			return
		}
		line(depth, "%s:", key)
		for _, value := range values {
			line(depth, "- \"%s\"", value)
		}
	}
	via := func(depth int, list []route) {
		if len(list) == 0 {
			return
		}
		line(depth, "routes:")
		for _, r := range list {
			line(depth, "- to: \"%s\"", r.To)
			line(depth, "  via: \"%s\"", r.Via)
			line(depth, "  metric: %d", r.Metric)
		}
	}
	is := func(p *bool) bool { return p != nil && *p }
	wait4, wait6 := false, false
	for _, d := range spec {
		wait4, wait6 = wait4 || is(d.DHCP4), wait6 || is(d.DHCP6)
		for _, text := range d.IPAddrs {
			// An address with its prefix, which the webhook asks for, is none to the real one here.
			if addr, err := netip.ParseAddr(text); err == nil {
				wait4, wait6 = wait4 || addr.Is4(), wait6 || addr.Is6()
			}
		}
	}
	line(0, "instance-id: \"%s\"", name)
	line(0, "local-hostname: \"%s\"", name)
	line(0, "wait-on-network:")
	line(1, "ipv4: %t", wait4)
	line(1, "ipv6: %t", wait6)
	line(0, "network:")
	line(1, "version: 2")
	line(1, "ethernets:")
	for i, d := range devices {
		line(2, "id%d:", i)
		line(3, "match:")
		line(4, "macaddress: \"%s\"", macs[i])
		if d.DeviceName != "" {
			line(3, "set-name: \"%s\"", d.DeviceName)
		} else {
			line(3, "set-name: \"eth%d\"", i)
		}
		line(3, "wakeonlan: true")
		line(3, "dhcp4: %t", is(d.DHCP4))
		line(3, "dhcp6: %t", is(d.DHCP6))
		line(3, "accept-ra: %t", is(d.DHCP6))
		strs(3, "addresses", d.IPAddrs)
		if d.Gateway4 != "" {
			line(3, "gateway4: \"%s\"", d.Gateway4)
		}
		if d.Gateway6 != "" {
			line(3, "gateway6: \"%s\"", d.Gateway6)
		}
		if d.MTU != nil {
			line(3, "mtu: %d", *d.MTU)
		}
		via(3, append(slices.Clone(d.Routes), routes...))
		if len(d.Nameservers) > 0 || len(d.SearchDomains) > 0 {
			line(3, "nameservers:")
			strs(4, "addresses", d.Nameservers)
			strs(4, "search", d.SearchDomains)
		}
	}
	b.WriteString("\n")
	return b.String(), nil
}

// metadataOf is the text that a machine has now.
func metadataOf(options []types.BaseOptionValue) string {
	var value, encoding string
	for _, option := range options {
		switch o := option.GetOptionValue(); o.Key {
		case "guestinfo.metadata":
			value = fmt.Sprint(o.Value)
		case "guestinfo.metadata.encoding":
			encoding = fmt.Sprint(o.Value)
		}
	}
	if encoding != "base64" {
		return ""
	}
	text, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return ""
	}
	return string(text)
}

func setMetadata(ctx context.Context, vm *object.VirtualMachine, text string) (*object.Task, error) {
	return vm.Reconfigure(ctx, types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{
		&types.OptionValue{Key: "guestinfo.metadata", Value: base64.StdEncoding.EncodeToString([]byte(text))},
		&types.OptionValue{Key: "guestinfo.metadata.encoding", Value: "base64"},
	}})
}

// nics are the machine's network devices with the addresses that its guest reports.
func nics(vm *mo.VirtualMachine) []nicStatus {
	var all []nicStatus
	guest := map[string]types.GuestNicInfo{}
	if vm.Guest != nil {
		for _, n := range vm.Guest.Net {
			guest[strings.ToLower(n.MacAddress)] = n
		}
	}
	devices := object.VirtualDeviceList(vm.Config.Hardware.Device)
	for _, device := range devices.SelectByType((*types.VirtualEthernetCard)(nil)) {
		card := device.(types.BaseVirtualEthernetCard).GetVirtualEthernetCard()
		n := nicStatus{MACAddr: card.MacAddress}
		if card.Connectable != nil {
			n.Connected = types.NewBool(card.Connectable.Connected)
		}
		info := guest[strings.ToLower(card.MacAddress)]
		n.NetworkName = info.Network
		for _, text := range info.IpAddress {
			if a, err := netip.ParseAddr(text); err == nil && !a.IsLinkLocalUnicast() && !a.IsLoopback() {
				n.IPAddrs = append(n.IPAddrs, text)
			}
		}
		all = append(all, n)
	}
	return all
}

// waitForGuest returns when the guest reports an address, is powered off, or the context ends.
func waitForGuest(ctx context.Context, vm *object.VirtualMachine) error {
	return property.Wait(ctx, property.DefaultCollector(vm.Client()), vm.Reference(),
		[]string{"guest.net", "runtime.powerState"}, func(changes []types.PropertyChange) bool {
			for _, change := range changes {
				switch value := change.Val.(type) {
				case types.VirtualMachinePowerState:
					if value != types.VirtualMachinePowerStatePoweredOn {
						return true
					}
				case types.ArrayOfGuestNicInfo:
					for _, n := range value.GuestNicInfo {
						if len(n.IpAddress) > 0 {
							return true
						}
					}
				}
			}
			return false
		})
}
