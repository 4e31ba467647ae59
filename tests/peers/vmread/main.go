// SPDX-License-Identifier: Apache-2.0

// vmread prints as JSON what a vCenter says about its virtual machines and folders, read by govmomi:
// the tests' own eyes on what our provider wrote. It changes nothing.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

type machine struct {
	Name         string            `json:"name"`
	MoRef        string            `json:"moref"`
	InstanceUUID string            `json:"instanceUuid"`
	UUID         string            `json:"uuid"`
	PowerState   string            `json:"powerState"`
	Template     bool              `json:"template"`
	Folder       string            `json:"folder"`
	ResourcePool string            `json:"resourcePool,omitempty"`
	Datastores   []string          `json:"datastores"`
	Networks     []string          `json:"networks"`
	NumCPU       int32             `json:"numCPU"`
	MemoryMB     int32             `json:"memoryMB"`
	DiskKB       []int64           `json:"diskKB"`
	MAC          []string          `json:"mac"`
	IPAddress    string            `json:"ipAddress,omitempty"`
	ExtraConfig  map[string]string `json:"extraConfig"`

	Cluster         string            `json:"cluster"`
	Notes           string            `json:"notes"`
	HardwareVersion string            `json:"hardwareVersion"`
	CoresPerSocket  int32             `json:"coresPerSocket"`
	CPU             *allocation       `json:"cpu,omitempty"`
	Memory          *allocation       `json:"memory,omitempty"`
	Disks           []disk            `json:"disks"`
	NICs            []nic             `json:"nics"`
	CustomValues    map[string]string `json:"customValues"`
	Tags            []string          `json:"tags,omitempty"`
}

type inventory struct {
	Items   []machine `json:"items"`
	Folders []string  `json:"folders"`
	Rules   []rule    `json:"rules"`
}

type node struct {
	name   string
	parent *types.ManagedObjectReference
}

// tree resolves references to names and inventory paths.
type tree map[types.ManagedObjectReference]node

func (t tree) path(ref *types.ManagedObjectReference) string {
	var names []string
	for ref != nil {
		at, known := t[*ref]
		if !known || at.parent == nil {
			break // the root folder has a name that no path shows
		}
		names = append(names, at.name)
		ref = at.parent
	}
	if ref == nil {
		return ""
	}
	slices.Reverse(names)
	return "/" + path.Join(names...)
}

func (t tree) names(refs []types.ManagedObjectReference) []string {
	names := make([]string, 0, len(refs))
	for _, ref := range refs {
		names = append(names, t[ref].name)
	}
	slices.Sort(names)
	return names
}

func connect(ctx context.Context, rawURL, user, passwordFile, caFile string) (*vim25.Client, func(), error) {
	if rawURL == "" || passwordFile == "" || caFile == "" {
		return nil, nil, errors.New("--url, --password-file and --ca are required")
	}
	u, err := soap.ParseURL(rawURL)
	if err != nil {
		return nil, nil, err
	}
	password, err := os.ReadFile(passwordFile)
	if err != nil {
		return nil, nil, err
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	transport := soap.NewClient(u, false)
	transport.DefaultTransport().TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	client, err := vim25.NewClient(ctx, transport)
	if err != nil {
		return nil, nil, err
	}
	manager := session.NewManager(client)
	err = manager.Login(ctx, url.UserPassword(user, strings.TrimRight(string(password), "\r\n")))
	if err != nil {
		return nil, nil, err
	}
	return client, func() { _ = manager.Logout(context.WithoutCancel(ctx)) }, nil
}

func readTree(ctx context.Context, client *vim25.Client) (tree, error) {
	kinds := []string{
		"Folder", "StoragePod", "Datacenter", "ComputeResource", "ClusterComputeResource", "ResourcePool",
		"VirtualApp", "Datastore", "Network", "DistributedVirtualPortgroup", "OpaqueNetwork",
	}
	v, err := view.NewManager(client).CreateContainerView(ctx, client.ServiceContent.RootFolder, kinds, true)
	if err != nil {
		return nil, err
	}
	defer func() { _ = v.Destroy(ctx) }()
	t := tree{client.ServiceContent.RootFolder: {}}
	for _, kind := range kinds {
		var contents []types.ObjectContent
		if err := v.Retrieve(ctx, []string{kind}, []string{"name", "parent"}, &contents); err != nil {
			return nil, err
		}
		for _, content := range contents {
			var n node
			for _, property := range content.PropSet {
				switch value := property.Val.(type) {
				case string:
					n.name = value
				case types.ManagedObjectReference:
					n.parent = &value
				}
			}
			t[content.Obj] = n
		}
	}
	return t, nil
}

func (t tree) machine(vm *mo.VirtualMachine) machine {
	m := machine{
		Name: vm.Name, MoRef: vm.Self.Value, PowerState: string(vm.Runtime.PowerState),
		Folder: t.path(vm.Parent), ResourcePool: t.path(vm.ResourcePool),
		Datastores: t.names(vm.Datastore), Networks: t.names(vm.Network),
		DiskKB: []int64{}, MAC: []string{}, ExtraConfig: map[string]string{},
		Cluster: path.Dir(t.path(vm.ResourcePool)), Disks: []disk{}, NICs: []nic{}, CustomValues: map[string]string{},
	}
	if vm.Guest != nil {
		m.IPAddress = vm.Guest.IpAddress
	}
	if vm.Config == nil {
		return m
	}
	m.InstanceUUID, m.UUID, m.Template = vm.Config.InstanceUuid, vm.Config.Uuid, vm.Config.Template
	m.Notes, m.HardwareVersion = vm.Config.Annotation, vm.Config.Version
	if cores := vm.Config.Hardware.NumCoresPerSocket; cores != nil {
		m.CoresPerSocket = *cores
	}
	m.CPU, m.Memory = allocationOf(vm.Config.CpuAllocation), allocationOf(vm.Config.MemoryAllocation)
	m.NumCPU, m.MemoryMB = vm.Config.Hardware.NumCPU, vm.Config.Hardware.MemoryMB
	for _, device := range vm.Config.Hardware.Device {
		switch d := device.(type) {
		case *types.VirtualDisk:
			m.DiskKB = append(m.DiskKB, d.CapacityInKB)
			m.Disks = append(m.Disks, t.disk(d))
		case types.BaseVirtualEthernetCard:
			m.MAC = append(m.MAC, d.GetVirtualEthernetCard().MacAddress)
			m.NICs = append(m.NICs, t.nic(d))
		}
	}
	slices.SortStableFunc(m.Disks, func(a, b disk) int {
		return cmp.Or(cmp.Compare(a.Controller, b.Controller), cmp.Compare(a.Unit, b.Unit))
	})
	for _, option := range vm.Config.ExtraConfig {
		v := option.GetOptionValue()
		m.ExtraConfig[v.Key] = fmt.Sprint(v.Value)
	}
	return m
}

func read(ctx context.Context, client *vim25.Client, tags bool, user *url.Userinfo) (*inventory, error) {
	t, err := readTree(ctx, client)
	if err != nil {
		return nil, err
	}
	result := &inventory{Items: []machine{}, Folders: []string{}}
	for ref := range t {
		if ref.Type == "Folder" && ref != client.ServiceContent.RootFolder {
			result.Folders = append(result.Folders, t.path(&ref))
		}
	}
	slices.Sort(result.Folders)

	kinds := []string{"VirtualMachine"}
	v, err := view.NewManager(client).CreateContainerView(ctx, client.ServiceContent.RootFolder, kinds, true)
	if err != nil {
		return nil, err
	}
	defer func() { _ = v.Destroy(ctx) }()
	var vms []mo.VirtualMachine
	err = v.Retrieve(ctx, kinds, []string{
		"name", "parent", "resourcePool", "datastore", "network", "runtime.powerState", "config",
		"guest.ipAddress", "customValue", "availableField",
	}, &vms)
	if err != nil {
		return nil, err
	}
	for i := range vms {
		m := t.machine(&vms[i])
		m.CustomValues = customValues(&vms[i])
		result.Items = append(result.Items, m)
	}
	result.Rules, err = readRules(ctx, client, t, vms)
	if err != nil {
		return nil, err
	}
	if tags {
		if err = readTags(ctx, client, user, result.Items); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(result.Items, func(a, b machine) int {
		return strings.Compare(a.Folder+"/"+a.Name, b.Folder+"/"+b.Name)
	})
	return result, nil
}

func run() error {
	rawURL := flag.String("url", "", "`URL` of the vCenter, https://HOST:PORT/sdk (required)")
	user := flag.String("user", "administrator@vsphere.local", "`USER` to log in as")
	passwordFile := flag.String("password-file", "", "`FILE` with that user's password (required)")
	caFile := flag.String("ca", "", "`FILE` with the CA of the vCenter's certificate, PEM (required)")
	tags := flag.Bool("tags", false, "read tags too, with a REST session")
	flag.Parse()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, logout, err := connect(ctx, *rawURL, *user, *passwordFile, *caFile)
	if err != nil {
		return err
	}
	defer logout()
	password, err := os.ReadFile(*passwordFile)
	if err != nil {
		return err
	}
	secret := url.UserPassword(*user, strings.TrimRight(string(password), "\r\n"))
	result, err := read(ctx, client, *tags, secret)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	return encoder.Encode(result)
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("vmread: ")
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
