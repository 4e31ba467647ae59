// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

func TestClonesKeepWhatTheSimulatorDrops(t *testing.T) {
	w := newWorld(t, "")
	template, err := w.find.VirtualMachine(w.ctx, testTemplate)
	w.ok(err)
	folder, err := w.find.Folder(w.ctx, "/DC0/vm")
	w.ok(err)
	pool, err := w.find.ResourcePool(w.ctx, "/DC0/host/DC0_C0/Resources")
	w.ok(err)
	ref := pool.Reference()
	task, err := template.Clone(w.ctx, folder, "kept", types.VirtualMachineCloneSpec{
		Location: types.VirtualMachineRelocateSpec{
			Pool: &ref, DiskMoveType: "moveAllDiskBackingsAndConsolidate",
			Profile: []types.BaseVirtualMachineProfileSpec{&types.VirtualMachineDefinedProfileSpec{ProfileId: "p1"}},
		},
		Config: &types.VirtualMachineConfigSpec{
			Annotation: "notes", NumCoresPerSocket: types.NewInt32(2),
			CpuAllocation: &types.ResourceAllocationInfo{Reservation: types.NewInt64(300)},
		},
	})
	w.ok(err)
	info, err := task.WaitForResult(w.ctx)
	w.ok(err)
	var vm mo.VirtualMachine
	made := object.NewVirtualMachine(w.client.Client, info.Result.(types.ManagedObjectReference))
	w.ok(made.Properties(w.ctx, made.Reference(), []string{"config"}, &vm))
	if vm.Config.Annotation != "notes" || *vm.Config.Hardware.NumCoresPerSocket != 2 ||
		*vm.Config.CpuAllocation.Reservation != 300 || *vm.Config.CpuAllocation.Limit != -1 {
		t.Errorf("%q, %d cores, %+v", vm.Config.Annotation, *vm.Config.Hardware.NumCoresPerSocket, vm.Config.CpuAllocation)
	}
	items := w.ask("GET", "/clones", "")["items"].([]any)
	asked := items[len(items)-1].(map[string]any)
	if asked["name"] != "kept" || asked["diskMoveType"] != "moveAllDiskBackingsAndConsolidate" ||
		len(asked["profiles"].([]any)) != 1 || asked["profiles"].([]any)[0] != "p1" || asked["powerOn"] != false {
		t.Errorf("%v", asked)
	}
}

func TestARecommendationForAPodAloneGetsAConfiguration(t *testing.T) {
	pod := `<storagePod type="StoragePod">group-p1</storagePod>`
	alone := []byte("<x><podSelectionSpec>" + pod + "</podSelectionSpec></x>")
	with := forPod(alone)
	if !strings.Contains(string(with), "<podSelectionSpec><initialVmConfig>"+pod+"</initialVmConfig>"+pod) {
		t.Errorf("%s", with)
	}
	if !bytes.Equal(forPod(with), with) || !bytes.Equal(forPod([]byte("<x/>")), []byte("<x/>")) {
		t.Error("changed what needs no change")
	}
}
