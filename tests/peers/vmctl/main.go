// SPDX-License-Identifier: Apache-2.0

// vmctl does to virtual machines of a vCenter what tests need done by somebody else than our
// provider, by govmomi: clone a template with guestinfo, power on and off, destroy.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const usage = `usage: vmctl --url URL --password-file FILE --ca FILE COMMAND ...
  clone TEMPLATE FOLDER/NAME --pool PATH [--userdata FILE] [--metadata FILE] [--option KEY=VALUE]...
                          metadata may hold @MAC@, the machine's own address; options are extraConfig
  power-on PATH
  power-off PATH
  destroy PATH
  make-template PATH
  make-tags CATEGORY/NAME...  the categories too; tags may be on anything
  attach-tag CATEGORY/NAME PATH  of whatever object
  renew-tag CATEGORY/NAME     another one under its name
  renew-attribute NAME        the same with a custom attribute of machines
  make-folder PATH            all of it that is not there
  clones TEMPLATE FOLDER COUNT --pool PATH
                          so many at once, powered on, waited for and destroyed again: {"ms": until all were on}
Prints {"name", "moref", "instanceUuid", "uuid", "powerState", "mac"} of the machine.`

type machine struct {
	Name         string   `json:"name"`
	MoRef        string   `json:"moref"`
	InstanceUUID string   `json:"instanceUuid"`
	UUID         string   `json:"uuid"`
	PowerState   string   `json:"powerState"`
	MAC          []string `json:"mac"`
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

func read(ctx context.Context, vm *object.VirtualMachine) (*machine, error) {
	var seen mo.VirtualMachine
	err := vm.Properties(ctx, vm.Reference(), []string{"name", "config", "runtime.powerState"}, &seen)
	if err != nil {
		return nil, err
	}
	m := &machine{
		Name: seen.Name, MoRef: vm.Reference().Value, InstanceUUID: seen.Config.InstanceUuid,
		UUID: seen.Config.Uuid, PowerState: string(seen.Runtime.PowerState), MAC: []string{},
	}
	for _, device := range seen.Config.Hardware.Device {
		if card, ok := device.(types.BaseVirtualEthernetCard); ok {
			m.MAC = append(m.MAC, card.GetVirtualEthernetCard().MacAddress)
		}
	}
	return m, nil
}

// guestinfo makes the option pair of one file, as templates' cloud-init reads it.
func guestinfo(name, file, mac string) ([]types.BaseOptionValue, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	value := strings.ReplaceAll(string(text), "@MAC@", mac)
	return []types.BaseOptionValue{
		&types.OptionValue{Key: "guestinfo." + name, Value: base64.StdEncoding.EncodeToString([]byte(value))},
		&types.OptionValue{Key: "guestinfo." + name + ".encoding", Value: "base64"},
	}, nil
}

// newAddress lets the vCenter choose the cards' addresses: the simulator's clones have their template's.
func newAddress(ctx context.Context, vm *object.VirtualMachine) error {
	devices, err := vm.Device(ctx)
	if err != nil {
		return err
	}
	cards := devices.SelectByType((*types.VirtualEthernetCard)(nil))
	for _, device := range cards {
		card := device.(types.BaseVirtualEthernetCard).GetVirtualEthernetCard()
		card.MacAddress, card.AddressType = "", string(types.VirtualEthernetCardMacTypeGenerated)
	}
	return vm.EditDevice(ctx, cards...)
}

func clone(ctx context.Context, finder *find.Finder, args []string) (*object.VirtualMachine, error) {
	flags := flag.NewFlagSet("clone", flag.ContinueOnError)
	pool := flags.String("pool", "", "resource pool")
	userdata := flags.String("userdata", "", "user data")
	metadata := flags.String("metadata", "", "metadata")
	var extra []types.BaseOptionValue
	flags.Func("option", "extraConfig", func(option string) error {
		key, value, is := strings.Cut(option, "=")
		if !is {
			return errors.New("not KEY=VALUE")
		}
		extra = append(extra, &types.OptionValue{Key: key, Value: value})
		return nil
	})
	if len(args) < 2 {
		return nil, errors.New(usage)
	}
	if err := flags.Parse(args[2:]); err != nil {
		return nil, err
	}
	template, err := finder.VirtualMachine(ctx, args[0])
	if err != nil {
		return nil, err
	}
	slash := strings.LastIndex(args[1], "/")
	folder, err := finder.Folder(ctx, args[1][:max(slash, 0)])
	if err != nil {
		return nil, err
	}
	where, err := finder.ResourcePool(ctx, *pool)
	if err != nil {
		return nil, err
	}
	ref := where.Reference()
	t, err := template.Clone(ctx, folder, args[1][slash+1:],
		types.VirtualMachineCloneSpec{Location: types.VirtualMachineRelocateSpec{Pool: &ref}})
	if err != nil {
		return nil, err
	}
	info, err := t.WaitForResult(ctx)
	if err != nil {
		return nil, err
	}
	vm := object.NewVirtualMachine(template.Client(), info.Result.(types.ManagedObjectReference))
	if err = newAddress(ctx, vm); err != nil {
		return nil, err
	}
	made, err := read(ctx, vm)
	if err != nil {
		return nil, err
	}
	mac := strings.Join(made.MAC[:min(len(made.MAC), 1)], "")
	for name, file := range map[string]string{"userdata": *userdata, "metadata": *metadata} {
		options, err := guestinfo(name, file, mac)
		if err != nil {
			return nil, err
		}
		extra = append(extra, options...)
	}
	if len(extra) == 0 {
		return vm, nil
	}
	return vm, wait(ctx, func() (*object.Task, error) {
		return vm.Reconfigure(ctx, types.VirtualMachineConfigSpec{ExtraConfig: extra})
	})
}

// clones is the least that so many machines cost: clone and wait, a few at a time.
func clones(ctx context.Context, finder *find.Finder, args []string) error {
	flags := flag.NewFlagSet("clones", flag.ContinueOnError)
	pool := flags.String("pool", "", "resource pool")
	if len(args) < 3 {
		return errors.New(usage)
	}
	if err := flags.Parse(args[3:]); err != nil {
		return err
	}
	template, err := finder.VirtualMachine(ctx, args[0])
	if err != nil {
		return err
	}
	folder, err := finder.Folder(ctx, args[1])
	if err != nil {
		return err
	}
	where, err := finder.ResourcePool(ctx, *pool)
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	ref := where.Reference()
	made := make([]*object.VirtualMachine, count)
	one := func(i int) error {
		t, err := template.Clone(ctx, folder, fmt.Sprintf("bare-%d", i), types.VirtualMachineCloneSpec{
			PowerOn: true, Location: types.VirtualMachineRelocateSpec{Pool: &ref}})
		if err != nil {
			return err
		}
		info, err := t.WaitForResult(ctx)
		if err == nil {
			made[i] = object.NewVirtualMachine(template.Client(), info.Result.(types.ManagedObjectReference))
		}
		return err
	}
	began := time.Now()
	if err = each(count, one); err != nil {
		return err
	}
	ms := float64(time.Since(began).Microseconds()) / 1000
	err = each(count, func(i int) error {
		if err := wait(ctx, func() (*object.Task, error) { return made[i].PowerOff(ctx) }); err != nil {
			return err
		}
		return wait(ctx, func() (*object.Task, error) { return made[i].Destroy(ctx) })
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{"ms": ms})
}

// each calls do for 0 to count, 16 of them at once, and gives the first error.
func each(count int, do func(i int) error) error {
	const atOnce = 16
	errs, next := make(chan error, count), make(chan int, count)
	for i := range count {
		next <- i
	}
	close(next)
	for range atOnce {
		go func() {
			for i := range next {
				errs <- do(i)
			}
		}()
	}
	var first error
	for range count {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func wait(ctx context.Context, start func() (*object.Task, error)) error {
	t, err := start()
	if err != nil {
		return err
	}
	err = t.Wait(ctx)
	var fault task.Error
	if errors.As(err, &fault) {
		return fmt.Errorf("%s (%T)", fault.LocalizedMessage, fault.Fault())
	}
	return err
}

func run() error {
	rawURL := flag.String("url", "", "`URL` of the vCenter, https://HOST:PORT/sdk (required)")
	user := flag.String("user", "administrator@vsphere.local", "`USER` to log in as")
	passwordFile := flag.String("password-file", "", "`FILE` with that user's password (required)")
	caFile := flag.String("ca", "", "`FILE` with the CA of the vCenter's certificate, PEM (required)")
	flag.Usage = func() { fmt.Fprintln(flag.CommandLine.Output(), usage) }
	flag.Parse()
	if flag.NArg() < 2 {
		return errors.New(usage)
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, logout, err := connect(ctx, *rawURL, *user, *passwordFile, *caFile)
	if err != nil {
		return err
	}
	defer logout()
	switch flag.Arg(0) {
	case "renew-attribute":
		return renewAttribute(ctx, client, flag.Arg(1))
	case "make-tags", "attach-tag", "renew-tag":
		password, err := os.ReadFile(*passwordFile)
		if err != nil {
			return err
		}
		secret := url.UserPassword(*user, strings.TrimRight(string(password), "\r\n"))
		if flag.Arg(0) == "renew-tag" {
			return renewTag(ctx, client, secret, flag.Arg(1))
		}
		if flag.Arg(0) == "attach-tag" {
			return attachTag(ctx, client, secret, flag.Arg(1), flag.Arg(2))
		}
		return makeTags(ctx, client, secret, flag.Args()[1:])
	case "make-folder":
		return makeFolder(ctx, client, flag.Arg(1))
	}
	finder := find.NewFinder(client)
	if flag.Arg(0) == "clones" {
		return clones(ctx, finder, flag.Args()[1:])
	}
	var vm *object.VirtualMachine
	if flag.Arg(0) == "clone" {
		vm, err = clone(ctx, finder, flag.Args()[1:])
	} else {
		vm, err = finder.VirtualMachine(ctx, flag.Arg(1))
	}
	if err != nil {
		return err
	}
	switch flag.Arg(0) {
	case "power-on":
		err = wait(ctx, func() (*object.Task, error) { return vm.PowerOn(ctx) })
	case "power-off":
		err = wait(ctx, func() (*object.Task, error) { return vm.PowerOff(ctx) })
	case "make-template":
		return vm.MarkAsTemplate(ctx)
	case "destroy":
		return wait(ctx, func() (*object.Task, error) { return vm.Destroy(ctx) })
	case "clone":
	default:
		return errors.New(usage)
	}
	if err != nil {
		return err
	}
	result, err := read(ctx, vm)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("vmctl: ")
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
