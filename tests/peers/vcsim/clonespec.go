// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// cloneSpecs does what the simulator leaves out of a clone: its specification's notes, cores, reservations,
// limits and shares become the machine's, as a vCenter does it. What leaves no trace in the simulator at all (how disks are
// copied, snapshot, storage policy) is told as it was asked for.
type cloneSpecs struct {
	mu    sync.Mutex
	asked []cloneAsked
	specs map[string]*types.VirtualMachineConfigSpec
}

type cloneAsked struct {
	Name         string   `json:"name"`
	Template     string   `json:"template"`
	DiskMoveType string   `json:"diskMoveType"`
	Snapshot     string   `json:"snapshot"`
	Datastore    string   `json:"datastore"`
	PowerOn      bool     `json:"powerOn"`
	Profiles     []string `json:"profiles"`
	DiskProfiles []string `json:"diskProfiles"`
	Locators     []string `json:"locatorProfiles"`
	VAppRemoved  bool     `json:"vAppConfigRemoved"`
}

func (c *cloneSpecs) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "pcgCloneSpecs", Value: "pcgCloneSpecs"}
}

func profileIDs(profiles []types.BaseVirtualMachineProfileSpec) []string {
	ids := []string{}
	for _, p := range profiles {
		if d, ok := p.(*types.VirtualMachineDefinedProfileSpec); ok {
			ids = append(ids, d.ProfileId)
		}
	}
	return ids
}

func refValue(ref *types.ManagedObjectReference) string {
	if ref == nil {
		return ""
	}
	return ref.Value
}

func (c *cloneSpecs) note(body []byte) {
	method, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err != nil {
		return
	}
	req, ok := method.Body.(*types.CloneVM_Task)
	if !ok {
		return
	}
	asked := cloneAsked{
		Name: req.Name, Template: req.This.Value, DiskMoveType: req.Spec.Location.DiskMoveType,
		Snapshot: refValue(req.Spec.Snapshot), Datastore: refValue(req.Spec.Location.Datastore),
		PowerOn: req.Spec.PowerOn, Profiles: profileIDs(req.Spec.Location.Profile), DiskProfiles: []string{},
		Locators: []string{},
	}
	for _, disk := range req.Spec.Location.Disk {
		asked.Locators = append(asked.Locators, profileIDs(disk.Profile)...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if config := req.Spec.Config; config != nil {
		asked.VAppRemoved = config.VAppConfigRemoved != nil && *config.VAppConfigRemoved
		for _, change := range config.DeviceChange {
			asked.DiskProfiles = append(asked.DiskProfiles, profileIDs(change.GetVirtualDeviceConfigSpec().Profile)...)
		}
		c.specs[req.Name] = config
	}
	c.asked = append(c.asked, asked)
}

// PutObject is not of interest: the machine is not made yet.
func (c *cloneSpecs) PutObject(*simulator.Context, mo.Reference) {}

// RemoveObject is not of interest.
func (c *cloneSpecs) RemoveObject(*simulator.Context, types.ManagedObjectReference) {}

// UpdateObject waits for the name, which a machine gets when it is made.
func (c *cloneSpecs) UpdateObject(_ *simulator.Context, obj mo.Reference, changes []types.PropertyChange) {
	vm, ok := obj.(*mo.VirtualMachine)
	if !ok || !slices.ContainsFunc(changes, func(p types.PropertyChange) bool { return p.Name == "name" }) {
		return
	}
	c.mu.Lock()
	config := c.specs[vm.Name]
	delete(c.specs, vm.Name)
	c.mu.Unlock()
	if config == nil {
		return
	}
	if config.Annotation != "" {
		vm.Config.Annotation = config.Annotation
	}
	if config.NumCoresPerSocket != nil {
		vm.Config.Hardware.NumCoresPerSocket = config.NumCoresPerSocket
	}
	merge(vm.Config.CpuAllocation, config.CpuAllocation)
	merge(vm.Config.MemoryAllocation, config.MemoryAllocation)
}

func merge(have, asked *types.ResourceAllocationInfo) {
	if have == nil || asked == nil {
		return
	}
	if asked.Reservation != nil {
		have.Reservation = asked.Reservation
	}
	if asked.Limit != nil {
		have.Limit = asked.Limit
	}
	if asked.Shares != nil {
		have.Shares = asked.Shares
	}
}

func (c *cloneSpecs) clones(_ *http.Request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items := slices.Clone(c.asked)
	if items == nil {
		items = []cloneAsked{}
	}
	return map[string]any{"items": items}, nil
}

var podOf = regexp.MustCompile(`<storagePod [^>]*>[^<]*</storagePod>`)

// forPod lets the simulator recommend a datastore of a cluster for a clone that names just the cluster, as a vCenter does:
// it recommends for configurations alone.
func forPod(body []byte) []byte {
	pod := podOf.Find(body)
	if pod == nil || bytes.Contains(body, []byte("<initialVmConfig>")) {
		return body
	}
	at := strings.Index(string(body), "<podSelectionSpec>")
	if at < 0 {
		return body
	}
	at += len("<podSelectionSpec>")
	config := "<initialVmConfig>" + string(pod) + "</initialVmConfig>"
	return []byte(string(body[:at]) + config + string(body[at:]))
}
