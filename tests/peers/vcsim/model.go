// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"path"
	"sort"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/units"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// modelFlag is the flag --model: how many of each kind there are at the start.
type modelFlag map[string]int

func newModelFlag() modelFlag {
	return modelFlag{
		"datacenter": 1, "cluster": 1, "host": 3, "pool": 0, "vm": 0, "datastore": 1,
		"portgroup": 1, "folder": 0, "standalone": 0, "pod": 0, "opaque": 0, "podstore": 0, "podwidth": 1, "templatedisk": 1,
		"templates": 0, "twin": 0,
	}
}

func (f modelFlag) names() string {
	names := make([]string, 0, len(f))
	for name := range f {
		names = append(names, name)
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

func (f modelFlag) String() string {
	parts := make([]string, 0, len(f))
	for name, n := range f {
		parts = append(parts, fmt.Sprintf("%s=%d", name, n))
	}
	sort.Strings(parts)
	return strings.Join(parts, ",")
}

func (f modelFlag) Set(value string) error {
	for _, part := range strings.Split(value, ",") {
		name, count, _ := strings.Cut(part, "=")
		if _, known := f[name]; !known {
			return fmt.Errorf("%q is none of %s", name, f.names())
		}
		n, err := strconv.Atoi(count)
		if err != nil || n < 0 {
			return fmt.Errorf("%s needs a count, for example %s=1", name, name)
		}
		f[name] = n
	}
	return nil
}

func (f modelFlag) model() *simulator.Model {
	m := simulator.VPX()
	m.Datacenter = f["datacenter"]
	m.Cluster = f["cluster"]
	m.ClusterHost = f["host"]
	m.Host = f["standalone"]
	m.Pool = f["pool"]
	m.Machine = f["vm"]
	m.Datastore = f["datastore"]
	m.Portgroup = f["portgroup"]
	m.Folder = f["folder"]
	m.Pod = f["pod"]
	m.OpaqueNetwork = f["opaque"]
	return m
}

// makeTemplates turns as many machines as the flag says into templates, so that there is a long list of them.
func (f modelFlag) makeTemplates(model *simulator.Model) {
	left := f["templates"]
	for _, e := range model.Map().All("VirtualMachine") {
		if left == 0 {
			return
		}
		vm := e.(*simulator.VirtualMachine)
		vm.Config.Template = true
		vm.Runtime.PowerState = types.VirtualMachinePowerStatePoweredOff
		left--
	}
}

// makeTwins gives so many port groups, the last ones, the name of the standard network.
func (f modelFlag) makeTwins(model *simulator.Model) {
	for _, e := range model.Map().All("DistributedVirtualPortgroup") {
		pg, ok := e.(*simulator.DistributedVirtualPortgroup)
		for i := f["portgroup"] - f["twin"]; ok && i < f["portgroup"]; i++ {
			if pg.Name == fmt.Sprintf("DC0_DVPG%d", i) {
				pg.Name = "VM Network"
				pg.Config.Name = pg.Name
			}
		}
	}
}

// placement names one valid place of each kind, for requests of tests.
type placement struct {
	Datacenter   string `json:"datacenter,omitempty"`
	Cluster      string `json:"cluster,omitempty"`
	ResourcePool string `json:"resourcePool,omitempty"`
	Datastore    string `json:"datastore,omitempty"`
	Network      string `json:"network,omitempty"`
	Folder       string `json:"folder,omitempty"`
	Template     string `json:"template,omitempty"`
}

func describe(model *simulator.Model, template string, counts modelFlag) (*placement, error) {
	ctx := context.Background()
	client, err := vim25.NewClient(ctx, model.Service)
	if err != nil {
		return nil, err
	}
	finder := find.NewFinder(client, false)
	where := new(placement)

	dcs, err := finder.DatacenterList(ctx, "*")
	if err != nil {
		dcs, err = finder.DatacenterList(ctx, "*/*")
	}
	if err != nil {
		return where, nil // a model without a datacenter is allowed
	}
	dc := dcs[0]
	finder.SetDatacenter(dc)
	where.Datacenter = dc.InventoryPath
	where.Folder = path.Join(dc.InventoryPath, "vm")

	cluster, err := finder.ClusterComputeResource(ctx, "*C0")
	if err != nil {
		if template == "" {
			return where, nil
		}
		return nil, fmt.Errorf("a template needs a cluster (--model cluster=1): %w", err)
	}
	where.Cluster = cluster.InventoryPath
	where.ResourcePool = path.Join(cluster.InventoryPath, "Resources")

	datastore, err := finder.Datastore(ctx, "LocalDS_0")
	if err != nil {
		return nil, err
	}
	where.Datastore = datastore.InventoryPath

	networks, err := finder.NetworkList(ctx, "*DVPG0")
	if err != nil {
		networks, err = finder.NetworkList(ctx, "VM Network")
	}
	if err != nil {
		return nil, err
	}
	where.Network = networks[0].GetInventoryPath()

	if err = fillPods(ctx, client, dc, counts["datastore"], counts["podstore"], counts["podwidth"]); err != nil {
		return nil, err
	}
	if template == "" {
		return where, nil
	}
	where.Template = template
	model.Map().AddHandler(ownDisks{})
	pool, err := cluster.ResourcePool(ctx)
	if err != nil {
		return nil, err
	}
	return where, makeTemplate(ctx, finder, dc, pool, networks[0], template, counts["templatedisk"])
}

func makeFolder(ctx context.Context, finder *find.Finder, dc *object.Datacenter,
	wanted string) (*object.Folder, error) {
	folders, err := dc.Folders(ctx)
	if err != nil {
		return nil, err
	}
	root := path.Join(dc.InventoryPath, "vm")
	if wanted != root && !strings.HasPrefix(wanted, root+"/") {
		return nil, fmt.Errorf("--template: %s is not below %s", wanted, root)
	}
	at, folder := root, folders.VmFolder
	for _, name := range strings.Split(strings.Trim(strings.TrimPrefix(wanted, root), "/"), "/") {
		if name == "" {
			continue
		}
		at = path.Join(at, name)
		next, err := finder.Folder(ctx, at)
		if err != nil {
			next, err = folder.CreateFolder(ctx, name)
		}
		if err != nil {
			return nil, err
		}
		folder = next
	}
	return folder, nil
}

// makeTemplate makes what image-builder's OVA is after its import: two processors, a 20 GiB disk on a
// paravirtual controller (and further disks of 10 GiB), one vmxnet3, a snapshot, marked as a template.
func makeTemplate(ctx context.Context, finder *find.Finder, dc *object.Datacenter,
	pool *object.ResourcePool, network object.NetworkReference, inventoryPath string, disks int) error {
	folder, err := makeFolder(ctx, finder, dc, path.Dir(inventoryPath))
	if err != nil {
		return err
	}

	var devices object.VirtualDeviceList
	scsi, err := devices.CreateSCSIController("pvscsi")
	if err != nil {
		return err
	}
	name := path.Base(inventoryPath)
	vmx := "[LocalDS_0]"
	disk := devices.CreateDisk(scsi.(types.BaseVirtualController), types.ManagedObjectReference{},
		vmx+" "+path.Join(name, name+".vmdk"))
	disk.CapacityInKB = 20 * units.GB / units.KB
	devices = append(devices, scsi, disk)
	for i := 1; i < disks; i++ {
		more := devices.CreateDisk(scsi.(types.BaseVirtualController), types.ManagedObjectReference{},
			fmt.Sprintf("%s %s/%s_%d.vmdk", vmx, name, name, i))
		more.CapacityInKB = 10 * units.GB / units.KB
		devices = append(devices, more)
	}
	backing, err := network.EthernetCardBackingInfo(ctx)
	if err != nil {
		return err
	}
	nic, err := devices.CreateEthernetCard("vmxnet3", backing)
	if err != nil {
		return err
	}
	changes, err := append(devices, nic).ConfigSpec(types.VirtualDeviceConfigSpecOperationAdd)
	if err != nil {
		return err
	}

	task, err := folder.CreateVM(ctx, types.VirtualMachineConfigSpec{
		Name:              name,
		GuestId:           string(types.VirtualMachineGuestOsIdentifierUbuntu64Guest),
		NumCPUs:           2,
		NumCoresPerSocket: types.NewInt32(1),
		MemoryMB:          2048,
		Files:             &types.VirtualMachineFileInfo{VmPathName: vmx},
		DeviceChange:      changes,
	}, pool, nil)
	if err != nil {
		return err
	}
	info, err := task.WaitForResult(ctx)
	if err != nil {
		return fmt.Errorf("template %s: %w", inventoryPath, err)
	}
	vm := object.NewVirtualMachine(pool.Client(), info.Result.(types.ManagedObjectReference))

	task, err = vm.CreateSnapshot(ctx, "base", "state as built", false, false)
	if err != nil {
		return err
	}
	if err = task.Wait(ctx); err != nil {
		return fmt.Errorf("snapshot of %s: %w", inventoryPath, err)
	}
	return vm.MarkAsTemplate(ctx)
}

// ownDisks mends what the simulator does with a clone whose disk is edited on the way, as vCenter allows: it
// leaves the clone with the template's file, deletes that with the clone, and from then on skips the device
// changes of every clone without a word.
type ownDisks struct{}

// Reference makes it a handler of the simulator's registry.
func (ownDisks) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "PcgTestOwnDisks", Value: "pcg-test-own-disks"}
}

// PutObject is not of interest: the devices come by an update.
func (ownDisks) PutObject(*simulator.Context, mo.Reference) {}

// RemoveObject is not of interest.
func (ownDisks) RemoveObject(*simulator.Context, types.ManagedObjectReference) {}

// UpdateObject gives a machine's disks names in the machine's own folder.
func (ownDisks) UpdateObject(_ *simulator.Context, obj mo.Reference, changes []types.PropertyChange) {
	vm, ok := obj.(*mo.VirtualMachine)
	if !ok || vm.Config == nil || vm.Config.Template {
		return
	}
	home := path.Dir(vm.Config.Files.VmPathName)
	for _, change := range changes {
		if change.Name != "config.hardware.device" {
			continue
		}
		for _, device := range vm.Config.Hardware.Device {
			disk, ok := device.(*types.VirtualDisk)
			if !ok {
				continue
			}
			backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			if ok && backing.FileName != "" && path.Dir(backing.FileName) != home {
				backing.FileName = fmt.Sprintf("%s/own-%d.vmdk", home, disk.Key)
			}
		}
	}
}

// fillPods puts the last datastores into the datastore clusters, width into each.
func fillPods(ctx context.Context, client *vim25.Client, dc *object.Datacenter, datastores, pods, width int) error {
	finder := find.NewFinder(client, false)
	finder.SetDatacenter(dc)
	for i := 0; i < pods*width && i < datastores-1; i++ {
		cluster, err := finder.DatastoreCluster(ctx, fmt.Sprintf("%s_POD%d", dc.Name(), i/width))
		if err != nil {
			return err
		}
		store, err := finder.Datastore(ctx, fmt.Sprintf("LocalDS_%d", datastores-1-i))
		if err != nil {
			return err
		}
		task, err := cluster.MoveInto(ctx, []types.ManagedObjectReference{store.Reference()})
		if err != nil {
			return err
		}
		if err = task.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}
