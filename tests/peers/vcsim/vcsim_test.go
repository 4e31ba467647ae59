// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

const testTemplate = "/DC0/vm/templates/base"

type world struct {
	t      *testing.T
	ctx    context.Context
	url    url.URL
	front  *front
	watch  *watcher
	admin  string
	client *govmomi.Client
	find   *find.Finder
}

func testCertificate(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// newWorld serves a simulator as run does; cloud, if not empty, is the simulated cloud's address.
func newWorld(t *testing.T, cloud string) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	model := newModelFlag().model()
	if err := model.Create(); err != nil {
		t.Fatal(err)
	}
	if _, err := describe(model, testTemplate, newModelFlag()); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(testCertificate(t))
	if err != nil {
		t.Fatal(err)
	}
	user := url.UserPassword("u", "right")
	f, err := serveFront(model, "127.0.0.1:0", user, &tls.Config{Certificates: []tls.Certificate{pair}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ctx: ctx, url: f.url, front: f}
	w.url.User = user
	if cloud != "" {
		w.watch, err = newWatcher(model, cloud, "", "", netip.MustParsePrefix("10.77.0.0/29"))
		if err != nil {
			t.Fatal(err)
		}
	}
	if w.admin, err = serveAdmin("127.0.0.1:0", model, w.front, w.watch, asVCenter(model)); err != nil {
		t.Fatal(err)
	}
	if w.client, err = govmomi.NewClient(ctx, &w.url, true); err != nil {
		t.Fatal(err)
	}
	w.find = find.NewFinder(w.client.Client, false)
	t.Cleanup(func() {
		f.close()
		model.Remove()
		cancel()
	})
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); {
		if time.Now().After(deadline) {
			w.t.Fatalf("not so after 10 s: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *world) startClone(name string, extra map[string]string) (*object.Task, error) {
	source, err := w.find.VirtualMachine(w.ctx, testTemplate)
	w.ok(err)
	pool, err := w.find.ResourcePool(w.ctx, "/DC0/host/DC0_C0/Resources")
	w.ok(err)
	folder, err := w.find.Folder(w.ctx, "/DC0/vm")
	w.ok(err)
	ref := pool.Reference()
	spec := types.VirtualMachineCloneSpec{
		Location: types.VirtualMachineRelocateSpec{Pool: &ref},
		Config:   &types.VirtualMachineConfigSpec{NumCPUs: 4, MemoryMB: 8192},
	}
	devices, err := source.Device(w.ctx)
	w.ok(err)
	disk := devices.SelectByType((*types.VirtualDisk)(nil))[0].(*types.VirtualDisk)
	disk.CapacityInKB, disk.CapacityInBytes = 40<<20, 40<<30
	spec.Config.DeviceChange = []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{
		Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: disk,
	}}
	for key, value := range extra {
		spec.Config.ExtraConfig = append(spec.Config.ExtraConfig, &types.OptionValue{Key: key, Value: value})
	}
	return source.Clone(w.ctx, folder, name, spec)
}

func (w *world) clone(name string, extra map[string]string) *object.VirtualMachine {
	w.t.Helper()
	task, err := w.startClone(name, extra)
	w.ok(err)
	info, err := task.WaitForResult(w.ctx)
	w.ok(err)
	return object.NewVirtualMachine(w.client.Client, info.Result.(types.ManagedObjectReference))
}

func (w *world) done(task *object.Task, err error) {
	w.t.Helper()
	w.ok(err)
	w.ok(task.Wait(w.ctx))
}

func (w *world) guestAddress(vm *object.VirtualMachine) string {
	var props mo.VirtualMachine
	w.ok(vm.Properties(w.ctx, vm.Reference(), []string{"guest"}, &props))
	if props.Guest == nil || len(props.Guest.Net) != 1 {
		w.t.Fatalf("guest %+v", props.Guest)
	}
	inNet := strings.Join(props.Guest.Net[0].IpAddress, " ")
	if inNet != props.Guest.IpAddress {
		w.t.Fatalf("guest.net %q, guest.ipAddress %q", inNet, props.Guest.IpAddress)
	}
	return inNet
}

func (w *world) ask(method, path, body string) map[string]any {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, method, w.admin+path, strings.NewReader(body))
	w.ok(err)
	res, err := http.DefaultClient.Do(req)
	w.ok(err)
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		w.t.Fatalf("%s %s: %s %s", method, path, res.Status, text)
	}
	var reply map[string]any
	w.ok(json.Unmarshal(text, &reply))
	return reply
}

// recorder notes the watcher's requests and refuses the first of them.
type recorder struct {
	mu       sync.Mutex
	requests []string
	bodies   []map[string]string
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, req.Method+" "+req.URL.RequestURI())
	body := map[string]string{}
	_ = json.NewDecoder(req.Body).Decode(&body)
	r.bodies = append(r.bodies, body)
	if len(r.requests) == 1 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func (r *recorder) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.requests...)
}

func TestWrongPasswordIsRefused(t *testing.T) {
	w := newWorld(t, "")
	for _, user := range []*url.Userinfo{
		url.UserPassword("u", "wrong"), url.UserPassword("v", "right"), url.UserPassword("u", ""),
	} {
		u := w.url
		u.User = user
		if _, err := govmomi.NewClient(w.ctx, &u, true); err == nil {
			t.Errorf("%s was let in", user)
		}
	}
}

func TestMachineWithUserDataGetsAPIAndAddress(t *testing.T) {
	cloud := new(recorder)
	server := httptest.NewServer(cloud)
	defer server.Close()
	w := newWorld(t, server.URL)
	vm := w.clone("n1", map[string]string{
		"guestinfo.userdata":          base64.StdEncoding.EncodeToString([]byte("#cloud-config\n")),
		"guestinfo.userdata.encoding": "base64",
		"guestinfo.metadata":          "instance-id: n1\n",
	})
	var props mo.VirtualMachine
	w.ok(vm.Properties(w.ctx, vm.Reference(), []string{"config.instanceUuid", "config.uuid"}, &props))
	id, provider := props.Config.InstanceUuid, "vsphere://"+strings.ToLower(props.Config.Uuid)

	w.done(vm.PowerOn(w.ctx))
	w.until("address", func() bool { return w.guestAddress(vm) == "10.77.0.1" })
	want := []string{"POST /v1/kubeapis", "POST /v1/kubeapis"}
	if got := cloud.list(); strings.Join(got, ",") != strings.Join(want, ",") {
		t.Fatalf("requests %q", got)
	}
	body := cloud.bodies[1]
	userData, _ := base64.StdEncoding.DecodeString(body["userData"])
	metadata, _ := base64.StdEncoding.DecodeString(body["metadata"])
	if body["id"] != id || body["address"] != "10.77.0.1" || string(userData) != "#cloud-config\n" ||
		string(metadata) != "instance-id: n1\n" || body["providerID"] != provider ||
		len(body["mac"]) != len("00:50:56:00:00:00") {
		t.Fatalf("body %v", body)
	}

	w.done(vm.PowerOff(w.ctx))
	w.until("no address", func() bool { return w.guestAddress(vm) == "" })
	want = append(want, "DELETE /v1/kubeapis/"+id+"?keep=1")
	w.until("off", func() bool { return len(cloud.list()) == len(want) })
	w.done(vm.PowerOn(w.ctx))
	w.until("same address again", func() bool { return w.guestAddress(vm) == "10.77.0.1" })
	w.done(vm.PowerOff(w.ctx))
	want = append(want, "POST /v1/kubeapis", "DELETE /v1/kubeapis/"+id+"?keep=1")
	w.until("off again", func() bool { return len(cloud.list()) == len(want) })
	w.done(vm.Destroy(w.ctx))
	want = append(want, "DELETE /v1/kubeapis/"+id)
	w.until("forgotten", func() bool { return len(w.ask("GET", "/kubeapis", "")["items"].([]any)) == 0 })
	if got := cloud.list(); strings.Join(got, ",") != strings.Join(want, ",") {
		t.Fatalf("requests %q, not %q", got, want)
	}
}

func TestMachineHasTheAddressThatItsMetadataSays(t *testing.T) {
	cloud := new(recorder)
	server := httptest.NewServer(cloud)
	defer server.Close()
	w := newWorld(t, server.URL)
	on := func(name string) (*object.VirtualMachine, string) {
		vm := w.clone(name, nil)
		var props mo.VirtualMachine
		w.ok(vm.Properties(w.ctx, vm.Reference(), []string{"config.hardware.device", "config.instanceUuid"}, &props))
		card := object.VirtualDeviceList(props.Config.Hardware.Device).SelectByType((*types.VirtualEthernetCard)(nil))[0]
		text := "network:\n  version: 2\n  ethernets:\n    id0:\n      match:\n        macaddress: \"" +
			card.(types.BaseVirtualEthernetCard).GetVirtualEthernetCard().MacAddress +
			"\"\n      addresses:\n      - \"10.9.0.5/24\"\n"
		w.done(vm.Reconfigure(w.ctx, types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{
			&types.OptionValue{Key: "guestinfo.userdata", Value: "#cloud-config\n"},
			&types.OptionValue{Key: "guestinfo.metadata", Value: text},
		}}))
		w.done(vm.PowerOn(w.ctx))
		return vm, props.Config.InstanceUuid
	}
	first, id := on("n1")
	w.until("its address", func() bool { return w.guestAddress(first) == "10.9.0.5" })
	second, _ := on("n2")
	w.until("another with it does not boot", func() bool {
		for _, m := range w.watch.report() {
			if m.Error == "address 10.9.0.5 is that of machine "+id {
				return w.guestAddress(second) == ""
			}
		}
		return false
	})
	w.done(first.PowerOff(w.ctx))
	w.until("it does once that is off", func() bool { return w.guestAddress(second) == "10.9.0.5" })
}

func TestClonesAreTheSameWhenAnotherWasDestroyed(t *testing.T) {
	w := newWorld(t, "")
	for _, name := range []string{"n1", "n2", "n3"} {
		vm := w.clone(name, nil)
		devices, err := vm.Device(w.ctx)
		w.ok(err)
		disks := devices.SelectByType((*types.VirtualDisk)(nil))
		if len(disks) != 1 || disks[0].(*types.VirtualDisk).CapacityInKB != 40<<20 {
			t.Errorf("%s: %d disks", name, len(disks))
		}
		w.done(vm.Destroy(w.ctx))
	}
}

func TestMachineWithoutUserDataGetsNothing(t *testing.T) {
	cloud := new(recorder)
	server := httptest.NewServer(cloud)
	defer server.Close()
	w := newWorld(t, server.URL)
	vm := w.clone("n1", nil)
	w.done(vm.PowerOn(w.ctx))
	w.done(vm.PowerOff(w.ctx))
	w.done(vm.Destroy(w.ctx))
	w.until("forgotten", func() bool { return len(w.watch.report()) == 0 })
	if got := cloud.list(); len(got) != 0 {
		t.Fatalf("requests %q", got)
	}
}

func TestDelayedClonesOfOneTemplateRunSideBySide(t *testing.T) {
	w := newWorld(t, "")
	delayTasks(500)
	defer func() { simulator.TaskDelay = simulator.DelayConfig{} }()
	started := time.Now()
	var tasks []*object.Task
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		task, err := w.startClone(name, nil)
		w.ok(err)
		tasks = append(tasks, task)
	}
	for _, task := range tasks {
		w.ok(task.Wait(w.ctx))
	}
	if ms := time.Since(started).Milliseconds(); ms < 500 || ms > 1800 {
		t.Errorf("six clones took %d ms", ms)
	}
}

func TestExpiredSessionIsNotAuthenticated(t *testing.T) {
	w := newWorld(t, "")
	if n := w.ask("POST", "/expire-sessions", "")["expired"]; n != 1.0 {
		t.Fatalf("expired %v", n)
	}
	_, err := methods.GetCurrentTime(w.ctx, w.client)
	if err == nil || !strings.Contains(err.Error(), "NotAuthenticated") {
		t.Fatalf("%v", err)
	}
}

func TestSessionsCanEndJustBeforeACall(t *testing.T) {
	w := newWorld(t, "")
	w.ask("POST", "/fault", `{"method":"CurrentTime","mode":"expire","skip":1}`)
	if _, err := methods.GetCurrentTime(w.ctx, w.client); err != nil {
		t.Fatal(err)
	}
	if _, err := methods.GetCurrentTime(w.ctx, w.client); err == nil || !strings.Contains(err.Error(), "NotAuthenticated") {
		t.Fatalf("%v", err)
	}
}

func TestReplyCanBeLostAfterTheCallWasCarriedOut(t *testing.T) {
	w := newWorld(t, "")
	w.ask("POST", "/fault", `{"method":"CloneVM_Task","mode":"drop-after"}`)
	if _, err := w.startClone("n1", nil); err == nil {
		t.Fatal("the reply arrived")
	}
	w.until("clone is there", func() bool {
		_, err := w.find.VirtualMachine(w.ctx, "/DC0/vm/n1")
		return err == nil
	})
	w.ask("POST", "/fault", `{"method":"CloneVM_Task","mode":"fault","fault":"NoDiskSpace"}`)
	if _, err := w.startClone("n2", nil); err == nil {
		t.Fatal("no fault")
	}
	if n := w.ask("GET", "/calls", "")["faultsInjected"]; n != 2.0 {
		t.Errorf("faults %v", n)
	}
	w.clone("n2", nil)
}

func TestCountsCallsConnectionsSessions(t *testing.T) {
	w := newWorld(t, "")
	w.ask("POST", "/reset", "")
	w.clone("n1", nil)
	calls := w.ask("GET", "/calls", "")
	methods := calls["sinceReset"].(map[string]any)["method"].(map[string]any)
	if methods["CloneVM_Task"] != 1.0 || methods["Login"] != nil {
		t.Errorf("calls %v", methods)
	}
	if calls["sinceStart"].(map[string]any)["method"].(map[string]any)["Login"] != 1.0 {
		t.Errorf("calls %v", calls)
	}
	if n := calls["connections"].(map[string]any)["open"].(float64); n < 1 {
		t.Errorf("connections %v", n)
	}
	if n := calls["sessions"].(map[string]any)["open"]; n != 1.0 {
		t.Errorf("sessions %v", n)
	}
	w.ok(w.client.Logout(w.ctx))
	calls = w.ask("GET", "/calls", "")
	if n := calls["sessions"].(map[string]any)["open"]; n != 0.0 {
		t.Errorf("sessions %v", n)
	}
}

func TestClosedConnectionIsNotCountedThoughItsCallStillRuns(t *testing.T) {
	w := newWorld(t, "")
	open := func() float64 {
		return w.ask("GET", "/calls", "")["connections"].(map[string]any)["open"].(float64)
	}
	before := open()
	hanging, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	w.front.next = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(hanging)
		<-release
	})
	ctx, cancel := context.WithCancel(w.ctx)
	go func() {
		<-hanging
		if n := open(); n != before+1 {
			t.Errorf("%v connections while it hangs, %v before", n, before)
		}
		cancel()
	}()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+w.url.Host+"/sdk", strings.NewReader("<a/>"))
	w.ok(err)
	if _, err = client.Do(req); err == nil {
		t.Fatal("the call ended")
	}
	w.until("not counted", func() bool { return open() == before })
}

func TestAddressRangeRunsOut(t *testing.T) {
	pool := newAddressPool(netip.MustParsePrefix("10.0.0.7/30"))
	first, err := pool.get()
	if err != nil || first.String() != "10.0.0.5" {
		t.Fatalf("%s %v", first, err)
	}
	if second, err := pool.get(); err != nil || second.String() != "10.0.0.6" {
		t.Fatalf("%s %v", second, err)
	}
	if third, err := pool.get(); err == nil {
		t.Fatalf("%s", third)
	}
	pool.put(first)
	if again, err := pool.get(); err != nil || again != first {
		t.Fatalf("%s %v", again, err)
	}
}
