// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// What people and other programs do to machines in a vCenter, past the front and its counts.

func (a *admin) findVM(r *http.Request) (context.Context, *vim25.Client, *object.VirtualMachine, error) {
	ctx := context.Background()
	client, err := vim25.NewClient(ctx, a.model.Service)
	if err != nil {
		return nil, nil, nil, err
	}
	search := object.NewSearchIndex(client)
	ref, err := search.FindByUuid(ctx, nil, r.URL.Query().Get("uuid"), true, types.NewBool(true))
	if err != nil {
		return nil, nil, nil, err
	}
	if ref == nil {
		return nil, nil, nil, errors.New("no machine has that instance uuid (?uuid=...)")
	}
	return ctx, client, object.NewVirtualMachine(client, ref.Reference()), nil
}

// moveVM moves a machine to "folder"; with ?late=true only when the next folder is to be removed, before that is done.
func (a *admin) moveVM(r *http.Request) (any, error) {
	ctx, client, vm, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	folder, err := find.NewFinder(client, false).Folder(ctx, r.URL.Query().Get("folder"))
	if err != nil {
		return nil, err
	}
	move := func() error {
		task, err := folder.MoveInto(ctx, []types.ManagedObjectReference{vm.Reference()})
		if err != nil {
			return err
		}
		return task.Wait(ctx)
	}
	if r.URL.Query().Get("late") == "true" {
		a.vcenter.folders.beforeNext(move)
		return struct{}{}, nil
	}
	return struct{}{}, move()
}

// cloneVM copies a machine as a person would in vCenter, its extraConfig with it (which the simulator drops), in
// the folder "folder" under the name "name". The body, {"KEY": "VALUE"}, says which keys are others.
// With ?macs=new its network devices get addresses of their own, as a vCenter gives them where the source's were generated.
func (a *admin) cloneVM(r *http.Request) (any, error) {
	ctx, client, vm, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	folder, err := find.NewFinder(client, false).Folder(ctx, r.URL.Query().Get("folder"))
	if err != nil {
		return nil, err
	}
	var source mo.VirtualMachine
	if err = vm.Properties(ctx, vm.Reference(), []string{"config.extraConfig"}, &source); err != nil {
		return nil, err
	}
	other := map[string]string{}
	if err = json.NewDecoder(r.Body).Decode(&other); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	spec := types.VirtualMachineCloneSpec{Config: &types.VirtualMachineConfigSpec{}}
	for _, option := range source.Config.ExtraConfig {
		o := *option.GetOptionValue()
		if value, ok := other[o.Key]; ok {
			o.Value = value
		}
		spec.Config.ExtraConfig = append(spec.Config.ExtraConfig, &o)
	}
	if r.URL.Query().Get("macs") == "new" {
		devices, err := vm.Device(ctx)
		if err != nil {
			return nil, err
		}
		for _, device := range devices.SelectByType((*types.VirtualEthernetCard)(nil)) {
			card := device.(types.BaseVirtualEthernetCard).GetVirtualEthernetCard()
			card.MacAddress, card.AddressType = "", string(types.VirtualEthernetCardMacTypeGenerated)
			spec.Config.DeviceChange = append(spec.Config.DeviceChange, &types.VirtualDeviceConfigSpec{
				Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: device})
		}
	}
	task, err := vm.Clone(ctx, folder, r.URL.Query().Get("name"), spec)
	if r.URL.Query().Get("wait") == "no" {
		return struct{}{}, err
	}
	return waited(ctx, task, err)
}

// waited answers when the task, that may not have begun, has ended.
func waited(ctx context.Context, task *object.Task, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return struct{}{}, task.Wait(ctx)
}

func (a *admin) powerOn(r *http.Request) (any, error) {
	ctx, _, vm, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	task, err := vm.PowerOn(ctx)
	return waited(ctx, task, err)
}

func (a *admin) powerOff(r *http.Request) (any, error) {
	ctx, _, vm, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	task, err := vm.PowerOff(ctx)
	return waited(ctx, task, err)
}

func (a *admin) destroyVM(r *http.Request) (any, error) {
	ctx, _, vm, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	task, err := vm.Destroy(ctx)
	return waited(ctx, task, err)
}

func (a *admin) renameVM(r *http.Request) (any, error) {
	ctx, _, vm, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	task, err := vm.Rename(ctx, r.URL.Query().Get("name"))
	return waited(ctx, task, err)
}

// makeTemplate powers a machine off and makes a template of it.
func (a *admin) makeTemplate(r *http.Request) (any, error) {
	ctx, _, vm, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	task, err := vm.PowerOff(ctx)
	if err != nil {
		return nil, err
	}
	_ = task.Wait(ctx) // it may be off already
	return struct{}{}, vm.MarkAsTemplate(ctx)
}

// attachDisk makes a disk at ?path=, as a storage driver does for a volume, and attaches it. With ?id= it is a first class disk,
// with ?independent=true in no snapshot.
func (a *admin) attachDisk(r *http.Request) (any, error) {
	ctx, client, vm, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	devices, err := vm.Device(ctx)
	if err != nil {
		return nil, err
	}
	controller, err := devices.FindDiskController("")
	if err != nil {
		return nil, err
	}
	where, dc := object.DatastorePath{}, (*object.Datacenter)(nil)
	where.FromString(r.URL.Query().Get("path"))
	if dc, err = find.NewFinder(client, false).DefaultDatacenter(ctx); err != nil {
		return nil, err
	}
	folder := object.DatastorePath{Datastore: where.Datastore, Path: "fcd"}
	_ = object.NewFileManager(client).MakeDirectory(ctx, folder.String(), dc, true) // it may be there already
	disk := devices.CreateDisk(controller, types.ManagedObjectReference{}, where.String())
	disk.CapacityInKB = 1 << 20
	if id := r.URL.Query().Get("id"); id != "" {
		disk.VDiskId = &types.ID{Id: id}
	}
	if r.URL.Query().Get("independent") == "true" {
		disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo).DiskMode = string(types.VirtualDiskModeIndependent_persistent)
	}
	return struct{}{}, vm.AddDevice(ctx, disk)
}

// snapshot makes one of a machine, as people and backups do.
func (a *admin) snapshot(r *http.Request) (any, error) {
	ctx, _, vm, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	task, err := vm.CreateSnapshot(ctx, "before the upgrade", "", false, false)
	return waited(ctx, task, err)
}

// question has the machine wait for the answer to ?text=; empty: it was answered.
func (a *admin) question(r *http.Request) (any, error) {
	_, _, vm, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	entity := a.model.Map().Get(vm.Reference()).(*simulator.VirtualMachine)
	ctx := adminContext(a.model)
	change := types.PropertyChange{Name: "runtime.question", Op: types.PropertyChangeOpAssign}
	if text := r.URL.Query().Get("text"); text != "" {
		change.Val = types.VirtualMachineQuestionInfo{Id: "1", Text: text}
	}
	ctx.WithLock(entity, func() { ctx.Update(entity, []types.PropertyChange{change}) })
	return struct{}{}, nil
}

// disk says whether there is a disk at ?path=.
func (a *admin) disk(r *http.Request) (any, error) {
	ctx := context.Background()
	client, err := vim25.NewClient(ctx, a.model.Service)
	if err != nil {
		return nil, err
	}
	dc, err := find.NewFinder(client, false).DefaultDatacenter(ctx)
	if err != nil {
		return nil, err
	}
	_, err = object.NewVirtualDiskManager(client).QueryVirtualDiskUuid(ctx, r.URL.Query().Get("path"), dc)
	return map[string]bool{"there": err == nil}, nil
}

// hideSwitches leaves out of port groups what a user without System.Read on the switch does not see.
func (a *admin) hideSwitches(r *http.Request) (any, error) {
	ctx := adminContext(a.model)
	for _, entity := range a.model.Map().All("DistributedVirtualPortgroup") {
		group := entity.(*simulator.DistributedVirtualPortgroup)
		ctx.WithLock(group, func() {
			group.Config.DistributedVirtualSwitch = nil
			if name := r.URL.Query().Get("name"); name != "" {
				group.Config.DistributedVirtualSwitch =
					&types.ManagedObjectReference{Type: "VmwareDistributedVirtualSwitch", Value: name}
			}
		})
	}
	return struct{}{}, nil
}
