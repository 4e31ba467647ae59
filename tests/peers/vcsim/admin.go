// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"time"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

type admin struct {
	model *simulator.Model
	front *front
	watch *watcher
}

type callCounts struct {
	Total  int            `json:"total"`
	Method map[string]int `json:"method"`
}

func countCalls(counts map[string]int) callCounts {
	c := callCounts{Method: maps.Clone(counts)}
	for _, n := range counts {
		c.Total += n
	}
	return c
}

type gauge struct {
	Open     int `json:"open"`
	Max      int `json:"max"`
	MaxReset int `json:"maxSinceReset"`
	Total    int `json:"total,omitempty"`
	REST     int `json:"rest,omitempty"`
}

type callsReply struct {
	SinceStart  callCounts `json:"sinceStart"`
	SinceReset  callCounts `json:"sinceReset"`
	Connections gauge      `json:"connections"`
	Sessions    gauge      `json:"sessions"`
	Faults      int        `json:"faultsInjected"`
}

func (a *admin) calls(_ *http.Request) (any, error) {
	sessions := len(a.front.sessions())
	f := a.front
	f.mu.Lock()
	defer f.mu.Unlock()
	return &callsReply{
		SinceStart: countCalls(f.start),
		SinceReset: countCalls(f.reset),
		Connections: gauge{
			Open: len(f.connections), Max: f.connMax, MaxReset: f.connMaxReset, Total: f.connTotal,
		},
		Sessions: gauge{
			Open: sessions, Max: f.sessMax, MaxReset: f.sessMaxReset, REST: len(f.restSessions),
		},
		Faults: f.faultsInjected,
	}, nil
}

func (a *admin) reset(_ *http.Request) (any, error) {
	sessions := len(a.front.sessions())
	f := a.front
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reset = map[string]int{}
	f.connMaxReset = len(f.connections)
	f.sessMaxReset = sessions
	return struct{}{}, nil
}

func (a *admin) expireSessions(_ *http.Request) (any, error) {
	return map[string]int{"expired": a.front.expireSessions()}, nil
}

// fault takes a frontFault, or with mode "fault" a SOAP fault of the named type.
func (a *admin) fault(r *http.Request) (any, error) {
	if r.Method == http.MethodDelete {
		a.model.Service.ClearFaultRules()
		a.front.mu.Lock()
		a.front.faults = nil
		a.front.mu.Unlock()
		return struct{}{}, nil
	}
	var req struct {
		frontFault
		Fault   string `json:"fault"`
		Message string `json:"message"`
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&req); err != nil {
		return nil, err
	}
	if req.Method == "" {
		return nil, errors.New(`"method" is missing: the name of a SOAP call, "POST /rest/...", or "*"`)
	}
	if req.Times < 1 {
		req.Times = 1
	}
	switch req.Mode {
	case "fault":
		fault, err := namedFault(req.Fault)
		if err != nil {
			return nil, err
		}
		a.model.Service.AddFaultRule(&simulator.FaultInjectionRule{
			MethodName: req.Method, ObjectType: "*", ObjectName: "*", Probability: 1,
			FaultType: simulator.FaultTypeCustom, Fault: fault, Message: req.Message,
			MaxCount: req.Times, SkipCount: req.Skip, Enabled: true,
		})
	case "status":
		if req.Status < 200 || req.Status > 599 {
			return nil, errors.New(`"status" must be an HTTP status, for example 503`)
		}
		fallthrough
	case "drop-before", "drop-after", "expire":
		a.front.mu.Lock()
		a.front.faults = append(a.front.faults, &req.frontFault)
		a.front.mu.Unlock()
	default:
		return nil, fmt.Errorf("mode %q is none of fault, status, drop-before, drop-after, expire", req.Mode)
	}
	return struct{}{}, nil
}

func namedFault(name string) (types.BaseMethodFault, error) {
	switch name {
	case "NotAuthenticated":
		return new(types.NotAuthenticated), nil
	case "NoPermission":
		return new(types.NoPermission), nil
	case "InvalidState":
		return new(types.InvalidState), nil
	case "TaskInProgress":
		return new(types.TaskInProgress), nil
	case "ManagedObjectNotFound":
		return new(types.ManagedObjectNotFound), nil
	case "InsufficientResourcesFault":
		return new(types.InsufficientResourcesFault), nil
	case "NoDiskSpace":
		return new(types.NoDiskSpace), nil
	case "HostCommunication":
		return new(types.HostCommunication), nil
	}
	return nil, fmt.Errorf("fault %q is not among the known ones", name)
}

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

func (a *admin) moveVM(r *http.Request) (any, error) {
	ctx, client, vm, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	folder, err := find.NewFinder(client, false).Folder(ctx, r.URL.Query().Get("folder"))
	if err != nil {
		return nil, err
	}
	task, err := folder.MoveInto(ctx, []types.ManagedObjectReference{vm.Reference()})
	if err != nil {
		return nil, err
	}
	return struct{}{}, task.Wait(ctx)
}

// cloneVM copies a machine as a person would in vCenter, its extraConfig with it (which the simulator drops), in
// the folder "folder" under the name "name". The body, {"KEY": "VALUE"}, says which keys are others.
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
	task, err := vm.Clone(ctx, folder, r.URL.Query().Get("name"), spec)
	if err != nil {
		return nil, err
	}
	return struct{}{}, task.Wait(ctx)
}

func (a *admin) powerOff(r *http.Request) (any, error) {
	ctx, _, vm, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	task, err := vm.PowerOff(ctx)
	if err != nil {
		return nil, err
	}
	return struct{}{}, task.Wait(ctx)
}

func (a *admin) destroyVM(r *http.Request) (any, error) {
	ctx, _, vm, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	task, err := vm.Destroy(ctx)
	if err != nil {
		return nil, err
	}
	return struct{}{}, task.Wait(ctx)
}

func (a *admin) kubeAPIs(_ *http.Request) (any, error) {
	items := []machineReport{}
	if a.watch != nil {
		items = a.watch.report()
	}
	return map[string]any{"items": items}, nil
}

func serveAdmin(listen string, model *simulator.Model, f *front, w *watcher) (string, error) {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return "", err
	}
	if !listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
		_ = listener.Close()
		return "", fmt.Errorf("--admin %s: must be a loopback address, it asks for no password", listen)
	}
	a := &admin{model: model, front: f, watch: w}
	mux := http.NewServeMux()
	for pattern, handle := range map[string]func(*http.Request) (any, error){
		"GET /calls":            a.calls,
		"GET /clones":           a.front.clones.clones,
		"GET /kubeapis":         a.kubeAPIs,
		"POST /reset":           a.reset,
		"POST /expire-sessions": a.expireSessions,
		"POST /fault":           a.fault,
		"DELETE /fault":         a.fault,
		"POST /move-vm":         a.moveVM,
		"POST /clone-vm":        a.cloneVM,
		"POST /destroy-vm":      a.destroyVM,
		"POST /power-off":       a.powerOff,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			reply, err := handle(r)
			w.Header().Set("Content-Type", "application/json")
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				reply = map[string]string{"error": err.Error()}
			}
			_ = json.NewEncoder(w).Encode(reply)
		})
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { log.Fatal(server.Serve(listener)) }()
	return "http://" + listener.Addr().String(), nil
}
