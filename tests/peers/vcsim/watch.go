// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
	"gopkg.in/yaml.v3"
)

// watcher plays the boot of machines: a powered-on machine with user data gets an address and, by the
// simulated cloud, a Kubernetes API at it; then the guest reports the address. Callbacks from the
// simulator come under its locks and only note what is wanted; one goroutine for each machine that
// has something to do carries it out, so the requests for one machine never overtake each other.
type watcher struct {
	model  *simulator.Model
	base   string
	token  string
	client *http.Client

	mu       sync.Mutex
	machines map[types.ManagedObjectReference]*machine
	free     *addressPool
	static   map[netip.Addr]*machine // of those that are powered on
}

type machine struct {
	ref       types.ManagedObjectReference
	id        string
	address   netip.Addr
	wantOn    bool
	gone      bool
	isOn      bool
	served    bool // the simulated cloud was asked for an API, and keeps what that stored
	running   bool // a goroutine is at work
	lastError string
}

type machineReport struct {
	ID      string `json:"id"`
	Machine string `json:"machine"`
	Address string `json:"address,omitempty"`
	Served  bool   `json:"served"`
	Error   string `json:"error,omitempty"`
}

func newWatcher(model *simulator.Model, rawURL, caFile, tokenFile string,
	addresses netip.Prefix) (*watcher, error) {
	base, err := url.Parse(rawURL)
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("--watch-kubeapi: %q is not a URL", rawURL)
	}
	transport := &http.Transport{MaxConnsPerHost: 8, MaxIdleConnsPerHost: 8}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--watch-ca: no certificate in %s", caFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	w := &watcher{
		model: model, base: strings.TrimRight(rawURL, "/"),
		client:   &http.Client{Transport: transport, Timeout: 30 * time.Second},
		machines: map[types.ManagedObjectReference]*machine{},
		free:     newAddressPool(addresses), static: map[netip.Addr]*machine{},
	}
	if tokenFile != "" {
		if w.token, err = readSecret(tokenFile); err != nil {
			return nil, err
		}
	}
	model.Map().AddHandler(w)
	return w, nil
}

// Reference makes the watcher a handler of the simulator's registry.
func (w *watcher) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "PcgTestWatcher", Value: "pcg-test-watcher"}
}

// PutObject is not of interest: a new machine is powered off.
func (w *watcher) PutObject(*simulator.Context, mo.Reference) {}

// UpdateObject notes a change of a machine's power state.
func (w *watcher) UpdateObject(_ *simulator.Context, obj mo.Reference, changes []types.PropertyChange) {
	ref := obj.Reference()
	if ref.Type != "VirtualMachine" {
		return
	}
	for _, change := range changes {
		if change.Name == "runtime.powerState" {
			on := change.Val == types.VirtualMachinePowerStatePoweredOn
			w.want(ref, func(m *machine) { m.wantOn = on })
		}
	}
}

// RemoveObject notes that a machine was destroyed or unregistered.
func (w *watcher) RemoveObject(_ *simulator.Context, ref types.ManagedObjectReference) {
	if ref.Type == "VirtualMachine" {
		w.want(ref, func(m *machine) { m.wantOn, m.gone = false, true })
	}
}

func (w *watcher) want(ref types.ManagedObjectReference, change func(*machine)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.machines[ref]
	if m == nil {
		m = &machine{ref: ref}
		w.machines[ref] = m
	}
	change(m)
	if !m.running {
		m.running = true
		go w.work(m)
	}
}

func (w *watcher) work(m *machine) {
	const slowest = time.Second
	pause := 50 * time.Millisecond
	for {
		w.mu.Lock()
		on := m.wantOn
		if on == m.isOn && !(m.gone && m.served) {
			m.running = false
			if !on {
				w.unsettleLocked(m)
			}
			if m.gone {
				w.free.put(m.address)
				delete(w.machines, m.ref)
			}
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()

		var err error
		if on {
			err = w.boot(m)
		} else {
			err = w.halt(m)
		}

		w.mu.Lock()
		if err == nil {
			m.isOn, m.lastError = on, ""
			pause = 50 * time.Millisecond
		} else if m.lastError != err.Error() {
			m.lastError = err.Error()
			log.Printf("machine %s: %v; trying again", m.ref.Value, err)
		}
		w.mu.Unlock()
		if err != nil {
			time.Sleep(pause)
			pause = min(2*pause, slowest)
		}
	}
}

// guestinfo decodes a guestinfo key as cloud-init's VMware data source does.
func guestinfo(extra map[string]string, key string) ([]byte, error) {
	value := extra["guestinfo."+key]
	switch encoding := extra["guestinfo."+key+".encoding"]; encoding {
	case "":
		return []byte(value), nil
	case "base64", "b64":
		return base64.StdEncoding.DecodeString(value)
	case "gzip+base64", "gz+b64":
		packed, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return nil, err
		}
		reader, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(reader)
	default:
		return nil, fmt.Errorf("guestinfo.%s.encoding is %q", key, encoding)
	}
}

func (w *watcher) context() *simulator.Context {
	return adminContext(w.model)
}

func (w *watcher) boot(m *machine) error {
	vm, ok := w.model.Map().Get(m.ref).(*simulator.VirtualMachine)
	if !ok {
		return nil // destroyed since; RemoveObject follows
	}
	extra := map[string]string{}
	var id, bios, mac string
	w.context().WithLock(vm, func() {
		id, bios = vm.Config.InstanceUuid, strings.ToLower(vm.Config.Uuid)
		for _, device := range vm.Config.Hardware.Device {
			if card, is := device.(types.BaseVirtualEthernetCard); is && mac == "" {
				mac = strings.ToLower(card.GetVirtualEthernetCard().MacAddress)
			}
		}
		for _, option := range vm.Config.ExtraConfig {
			v := option.GetOptionValue()
			extra[v.Key] = fmt.Sprint(v.Value)
		}
	})
	w.mu.Lock()
	m.id = id
	w.mu.Unlock()
	if extra["guestinfo.userdata"] == "" {
		return nil
	}
	userData, err := guestinfo(extra, "userdata")
	if err != nil {
		return fmt.Errorf("user data: %w", err)
	}
	metadata, err := guestinfo(extra, "metadata")
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}

	has := staticAddresses(metadata)
	address, err := w.settle(m, mac, has)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{
		"id": id, "address": address.String(), "mac": mac,
		"userData": base64.StdEncoding.EncodeToString(userData),
		"metadata": base64.StdEncoding.EncodeToString(metadata),
		// A node works this out from its SMBIOS serial; nothing runs the commands of this one.
		"providerID": "vsphere://" + bios,
	})
	if err != nil {
		return err
	}
	if err = w.call(http.MethodPost, "/v1/kubeapis", body); err != nil {
		return err
	}
	w.mu.Lock()
	on := m.wantOn
	w.mu.Unlock()
	if on {
		w.setGuest(m.ref, mac, address, has)
	}
	return nil
}

// settle says which address the machine's first device has: a static one of its configuration, else one of the range. A
// static one that another machine has is an error, as it would be on a wire.
func (w *watcher) settle(m *machine, mac string, has map[string][]netip.Prefix) (netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, list := range has {
		for _, p := range list {
			if other := w.static[p.Addr()]; other != nil && other != m {
				return netip.Addr{}, fmt.Errorf("address %s is that of machine %s", p.Addr(), other.id)
			}
		}
	}
	for _, list := range has {
		for _, p := range list {
			w.static[p.Addr()] = m
		}
	}
	var err error
	switch mine := has[mac]; {
	case len(mine) > 0:
		m.address = mine[0].Addr()
	case !m.address.IsValid():
		m.address, err = w.free.get()
	}
	m.served = m.served || err == nil
	return m.address, err
}

func (w *watcher) unsettle(m *machine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unsettleLocked(m)
}

func (w *watcher) unsettleLocked(m *machine) {
	maps.DeleteFunc(w.static, func(_ netip.Addr, of *machine) bool { return of == m })
}

// staticAddresses are those of cloud-init's network configuration, by MAC address.
func staticAddresses(metadata []byte) map[string][]netip.Prefix {
	var text struct {
		Network struct {
			Ethernets map[string]struct {
				Match     struct{ Macaddress string }
				Addresses []string
			}
		}
	}
	has := map[string][]netip.Prefix{}
	if err := yaml.Unmarshal(metadata, &text); err != nil {
		log.Printf("metadata is no YAML, its network is left out: %v", err)
		return has
	}
	for _, e := range text.Network.Ethernets {
		mac := strings.ToLower(e.Match.Macaddress)
		for _, a := range e.Addresses {
			if p, err := netip.ParsePrefix(a); err == nil {
				has[mac] = append(has[mac], p)
			}
		}
	}
	return has
}

func (w *watcher) halt(m *machine) error {
	w.mu.Lock()
	id, served, gone := m.id, m.served, m.gone
	w.mu.Unlock()
	w.unsettle(m)
	if !gone {
		w.setGuest(m.ref, "", netip.Addr{}, nil)
	}
	if !served {
		return nil
	}
	path := "/v1/kubeapis/" + url.PathEscape(id)
	if !gone {
		path += "?keep=1"
	}
	err := w.call(http.MethodDelete, path, nil)
	if err == nil && gone {
		w.mu.Lock()
		m.served = false
		w.mu.Unlock()
	}
	return err
}

func (w *watcher) call(method, path string, body []byte) error {
	req, err := http.NewRequestWithContext(context.Background(), method, w.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if w.token != "" {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	res, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 512))
	_, _ = io.Copy(io.Discard, res.Body)
	if res.StatusCode/100 == 2 || (method == http.MethodDelete && res.StatusCode == http.StatusNotFound) {
		return nil
	}
	return fmt.Errorf("%s %s answered %s: %q", method, path, res.Status, text)
}

// setGuest makes the guest report addresses as VMware Tools would: address of the device with that MAC address, static
// ones of all; nothing when it is none.
func (w *watcher) setGuest(ref types.ManagedObjectReference, mac string, address netip.Addr, has map[string][]netip.Prefix) {
	vm, ok := w.model.Map().Get(ref).(*simulator.VirtualMachine)
	if !ok {
		return
	}
	ctx := w.context()
	running, state, text := types.VirtualMachineToolsRunningStatusGuestToolsRunning, "running", address.String()
	if !address.IsValid() {
		running, state, text = types.VirtualMachineToolsRunningStatusGuestToolsNotRunning, "notRunning", ""
	}
	ctx.WithLock(vm, func() {
		nics := slices.Clone(vm.Guest.Net)
		for i := range nics {
			nics[i].IpAddress, nics[i].IpConfig = nil, nil
			own := strings.ToLower(nics[i].MacAddress)
			list := has[own]
			if len(list) == 0 && address.IsValid() && own == mac {
				list = []netip.Prefix{netip.PrefixFrom(address, w.free.prefix.Bits())}
			}
			for _, p := range list {
				nics[i].IpAddress = append(nics[i].IpAddress, p.Addr().String())
				if nics[i].IpConfig == nil {
					nics[i].IpConfig = &types.NetIpConfigInfo{}
				}
				nics[i].IpConfig.IpAddress = append(nics[i].IpConfig.IpAddress, types.NetIpConfigInfoIpAddress{
					IpAddress: p.Addr().String(), PrefixLength: int32(p.Bits()), State: "preferred",
				})
			}
		}
		ctx.Update(vm, []types.PropertyChange{
			{Name: "guest.net", Val: nics},
			{Name: "guest.ipAddress", Val: text},
			{Name: "summary.guest.ipAddress", Val: text},
			{Name: "guest.toolsRunningStatus", Val: string(running)},
			{Name: "summary.guest.toolsRunningStatus", Val: string(running)},
			{Name: "guest.guestState", Val: state},
		})
	})
}

func (w *watcher) report() []machineReport {
	w.mu.Lock()
	defer w.mu.Unlock()
	items := []machineReport{}
	for _, m := range w.machines {
		item := machineReport{ID: m.id, Machine: m.ref.Value, Served: m.served, Error: m.lastError}
		if m.address.IsValid() {
			item.Address = m.address.String()
		}
		items = append(items, item)
	}
	slices.SortFunc(items, func(a, b machineReport) int { return strings.Compare(a.Machine, b.Machine) })
	return items
}

// addressPool hands out the addresses of a range in turn, so that one just given back rests a while.
type addressPool struct {
	prefix netip.Prefix
	next   netip.Addr
	used   map[netip.Addr]struct{}
}

func newAddressPool(prefix netip.Prefix) *addressPool {
	prefix = prefix.Masked()
	return &addressPool{prefix: prefix, next: prefix.Addr(), used: map[netip.Addr]struct{}{}}
}

// The first and the last address of a range are no machine's.
func (p *addressPool) usable(a netip.Addr) bool {
	return a != p.prefix.Addr() && p.prefix.Contains(a.Next())
}

func (p *addressPool) get() (netip.Addr, error) {
	for first := p.next; ; {
		a := p.next
		p.next = a.Next()
		if !p.prefix.Contains(p.next) {
			p.next = p.prefix.Addr()
		}
		if _, taken := p.used[a]; !taken && p.usable(a) {
			p.used[a] = struct{}{}
			return a, nil
		}
		if p.next == first {
			return netip.Addr{}, fmt.Errorf("the range %s has no address left", p.prefix)
		}
	}
}

func (p *addressPool) put(a netip.Addr) {
	delete(p.used, a)
}
