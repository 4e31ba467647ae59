// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

type allocation struct {
	Reservation int64 `json:"reservation"`
	Limit       int64 `json:"limit"`
	Shares      int32 `json:"shares"`
}

type disk struct {
	CapacityKB int64  `json:"capacityKB"`
	Unit       int32  `json:"unit"`
	Controller int32  `json:"controller"`
	Mode       string `json:"mode"`
	Thin       bool   `json:"thin"`
	Eager      bool   `json:"eager"`
}

type nic struct {
	Type        string `json:"type"`
	MAC         string `json:"mac"`
	AddressType string `json:"addressType"`
	Network     string `json:"network"`
	Connected   bool   `json:"connected"`
	WakeOnLAN   bool   `json:"wakeOnLan"`
}

type rule struct {
	Cluster string   `json:"cluster"`
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	Enabled bool     `json:"enabled"`
	VMs     []string `json:"vms"`
}

func is(p *bool) bool { return p != nil && *p }

func allocationOf(info *types.ResourceAllocationInfo) *allocation {
	if info == nil {
		return nil
	}
	a := &allocation{}
	if info.Reservation != nil {
		a.Reservation = *info.Reservation
	}
	if info.Limit != nil {
		a.Limit = *info.Limit
	}
	if info.Shares != nil {
		a.Shares = info.Shares.Shares
	}
	return a
}

func (t tree) disk(d *types.VirtualDisk) disk {
	out := disk{CapacityKB: d.CapacityInKB, Controller: d.ControllerKey, Unit: -1}
	if d.UnitNumber != nil {
		out.Unit = *d.UnitNumber
	}
	if b, ok := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
		out.Mode, out.Thin, out.Eager = b.DiskMode, is(b.ThinProvisioned), is(b.EagerlyScrub)
	}
	return out
}

func (t tree) nic(d types.BaseVirtualEthernetCard) nic {
	card := d.GetVirtualEthernetCard()
	out := nic{MAC: card.MacAddress, AddressType: card.AddressType, WakeOnLAN: is(card.WakeOnLanEnabled)}
	if card.Connectable != nil {
		out.Connected = card.Connectable.Connected
	}
	if _, ok := d.(*types.VirtualVmxnet3); ok {
		out.Type = "vmxnet3"
	}
	switch b := card.Backing.(type) {
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		ref := types.ManagedObjectReference{Type: "DistributedVirtualPortgroup", Value: b.Port.PortgroupKey}
		out.Network = t[ref].name
	case *types.VirtualEthernetCardNetworkBackingInfo:
		out.Network = b.DeviceName
	}
	return out
}

func customValues(vm *mo.VirtualMachine) map[string]string {
	values := map[string]string{}
	for _, value := range vm.CustomValue {
		v, ok := value.(*types.CustomFieldStringValue)
		if !ok {
			continue
		}
		for _, field := range vm.AvailableField {
			if field.Key == v.Key {
				values[field.Name] = v.Value
			}
		}
	}
	return values
}

func readRules(ctx context.Context, client *vim25.Client, t tree, vms []mo.VirtualMachine) ([]rule, error) {
	names := map[types.ManagedObjectReference]string{}
	for i := range vms {
		names[vms[i].Self] = vms[i].Name
	}
	kinds := []string{"ClusterComputeResource"}
	v, err := view.NewManager(client).CreateContainerView(ctx, client.ServiceContent.RootFolder, kinds, true)
	if err != nil {
		return nil, err
	}
	defer func() { _ = v.Destroy(ctx) }()
	var clusters []mo.ClusterComputeResource
	if err = v.Retrieve(ctx, kinds, []string{"configurationEx"}, &clusters); err != nil {
		return nil, err
	}
	rules := []rule{}
	for i := range clusters {
		config, ok := clusters[i].ConfigurationEx.(*types.ClusterConfigInfoEx)
		if !ok {
			continue
		}
		for _, r := range config.Rule {
			info := r.GetClusterRuleInfo()
			out := rule{Cluster: t.path(&clusters[i].Self), Name: info.Name, Enabled: is(info.Enabled), VMs: []string{}}
			if anti, ok := r.(*types.ClusterAntiAffinityRuleSpec); ok {
				out.Type = "antiAffinity"
				for _, vm := range anti.Vm {
					out.VMs = append(out.VMs, names[vm])
				}
			}
			slices.Sort(out.VMs)
			rules = append(rules, out)
		}
	}
	slices.SortFunc(rules, func(a, b rule) int { return strings.Compare(a.Cluster+a.Name, b.Cluster+b.Name) })
	return rules, nil
}

// readTags writes the tags of machines as CATEGORY/NAME.
func readTags(ctx context.Context, client *vim25.Client, user *url.Userinfo, items []machine) error {
	c := rest.NewClient(client)
	if err := c.Login(ctx, user); err != nil {
		return err
	}
	defer func() { _ = c.Logout(context.WithoutCancel(ctx)) }()
	manager := tags.NewManager(c)
	for i := range items {
		ref := types.ManagedObjectReference{Type: "VirtualMachine", Value: items[i].MoRef}
		attached, err := manager.GetAttachedTags(ctx, ref)
		if err != nil {
			return err
		}
		for _, tag := range attached {
			category, err := manager.GetCategory(ctx, tag.CategoryID)
			if err != nil {
				return err
			}
			items[i].Tags = append(items[i].Tags, category.Name+"/"+tag.Name)
		}
		slices.Sort(items[i].Tags)
	}
	return nil
}
