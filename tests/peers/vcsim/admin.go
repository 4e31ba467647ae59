// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
)

type admin struct {
	model *simulator.Model
	front *front
	watch *watcher

	vcenter *vcenter
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
	SinceStart  callCounts     `json:"sinceStart"`
	SinceReset  callCounts     `json:"sinceReset"`
	Connections gauge          `json:"connections"`
	Sessions    gauge          `json:"sessions"`
	Faults      int            `json:"faultsInjected"`
	FaultsAt    map[string]int `json:"faultsAt"` // by method
	KiB         float64        `json:"kibSinceReset"`
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
		Faults: f.faultsInjected, FaultsAt: maps.Clone(f.faultsAt), KiB: float64(f.bytes) / 1024,
	}, nil
}

func (a *admin) reset(_ *http.Request) (any, error) {
	sessions := len(a.front.sessions())
	f := a.front
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reset = map[string]int{}
	f.bytes = 0
	f.connMaxReset = len(f.connections)
	f.sessMaxReset = sessions
	return struct{}{}, nil
}

// delay makes every call from now on ?ms= longer.
func (a *admin) delay(r *http.Request) (any, error) {
	ms, err := strconv.Atoi(r.URL.Query().Get("ms"))
	a.front.mu.Lock()
	a.front.delay = time.Duration(ms) * time.Millisecond
	a.front.mu.Unlock()
	return struct{}{}, err
}

func (a *admin) expireSessions(_ *http.Request) (any, error) {
	return map[string]int{"expired": a.front.expireSessions()}, nil
}

// fault takes a frontFault; DELETE forgets those that are left.
func (a *admin) fault(r *http.Request) (any, error) {
	if r.Method == http.MethodDelete {
		a.front.mu.Lock()
		a.front.faults = nil
		a.front.mu.Unlock()
		return struct{}{}, nil
	}
	var req frontFault
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
	if !frontModes[req.Mode] {
		return nil, fmt.Errorf("mode %q is none of %s", req.Mode,
			strings.Join(slices.Sorted(maps.Keys(frontModes)), ", "))
	}
	if strings.HasPrefix(req.Mode, "fault") || strings.HasPrefix(req.Mode, "task") {
		if _, err := namedFault(req.Fault); err != nil {
			return nil, err
		}
	}
	if req.Mode == "status" && (req.Status < 200 || req.Status > 599) {
		return nil, errors.New(`"status" must be an HTTP status, for example 503`)
	}
	a.front.mu.Lock()
	a.front.faults = append(a.front.faults, &req)
	a.front.mu.Unlock()
	return struct{}{}, nil
}

// faultType tells the bases of a fault's type (?type=NAME), the nearest first.
func (a *admin) faultType(r *http.Request) (any, error) {
	bases, err := faultBases(r.URL.Query().Get("type"))
	return map[string]any{"bases": bases}, err
}

type markedMachine struct {
	Name  string `json:"name"`
	Power string `json:"power"`
	Uuid  string `json:"instanceUuid"`
}

// marked tells of the machines whose extraConfig has ?key=...&value=..., from the simulator's tables: it is no call of the API.
func (a *admin) marked(r *http.Request) (any, error) {
	ctx := adminContext(a.model)
	machines := []markedMachine{}
	for _, entity := range a.model.Map().All("VirtualMachine") {
		vm := entity.(*simulator.VirtualMachine)
		ctx.WithLock(vm, func() {
			for _, option := range vm.Config.ExtraConfig {
				v := option.GetOptionValue()
				if v.Key == r.URL.Query().Get("key") && fmt.Sprint(v.Value) == r.URL.Query().Get("value") {
					machines = append(machines, markedMachine{vm.Name, string(vm.Runtime.PowerState), vm.Config.InstanceUuid})
				}
			}
		})
	}
	return map[string]any{"machines": machines}, nil
}

func (a *admin) kubeAPIs(_ *http.Request) (any, error) {
	items := []machineReport{}
	if a.watch != nil {
		items = a.watch.report()
	}
	return map[string]any{"items": items}, nil
}

func serveAdmin(listen string, model *simulator.Model, f *front, w *watcher, v *vcenter) (string, error) {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return "", err
	}
	if !listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
		_ = listener.Close()
		return "", fmt.Errorf("--admin %s: must be a loopback address, it asks for no password", listen)
	}
	a := &admin{model: model, front: f, watch: w, vcenter: v}
	mux := http.NewServeMux()
	for pattern, handle := range map[string]func(*http.Request) (any, error){
		"GET /calls":            a.calls,
		"GET /clones":           a.front.clones.clones,
		"GET /kubeapis":         a.kubeAPIs,
		"POST /reset":           a.reset,
		"POST /expire-sessions": a.expireSessions,
		"POST /fault":           a.fault,
		"POST /delay":           a.delay,
		"DELETE /fault":         a.fault,
		"GET /fault-type":       a.faultType,
		"GET /marked":           a.marked,
		"POST /move-vm":         a.moveVM,
		"POST /rename-vm":       a.renameVM,
		"POST /make-template":   a.makeTemplate,
		"POST /attach-disk":     a.attachDisk,
		"GET /disk":             a.disk,
		"POST /snapshot":        a.snapshot,
		"POST /question":        a.question,
		"POST /clone-vm":        a.cloneVM,
		"POST /destroy-vm":      a.destroyVM,
		"POST /power-off":       a.powerOff,
		"POST /power-on":        a.powerOn,
		"POST /hide-switches":   a.hideSwitches,
		"POST /recommend":       a.recommend,
		"POST /free-space":      a.freeSpace,
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
