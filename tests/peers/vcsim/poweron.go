// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// powerOns does a clone's powerOn as a vCenter does it: the clone ends with a machine that is off, and a task that the vCenter begins
// after that powers it on. Who does it meanwhile is told TaskInProgress. The simulator powers on inside the clone's task.
type powerOns struct {
	model *simulator.Model
	front *front
	next  http.Handler
	delay time.Duration // from the clone's end

	mu   sync.Mutex
	busy map[string]int // by the machine's name
}

const wanted = "<powerOn>true</powerOn>"

func (p *powerOns) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || !strings.HasPrefix(r.URL.Path, "/sdk") {
		p.next.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	switch {
	case bytes.Contains(body, []byte(wanted)) && soapMethod(body) == "CloneVM_Task":
		p.clone(w, r, body)
	case bytes.Contains(body, []byte("<PowerOnVM_Task")) && p.powersOn(p.nameOf(soapThis(body))):
		p.front.answerFault(w, &frontFault{Fault: "TaskInProgress", Message: "The operation is not allowed: another task is in progress."})
	default:
		p.next.ServeHTTP(w, r)
	}
}

func (p *powerOns) powersOn(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy[name] > 0
}

func (p *powerOns) note(name string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy[name] += n
	if p.busy[name] <= 0 {
		delete(p.busy, name)
	}
}

func (p *powerOns) nameOf(ref types.ManagedObjectReference) string {
	name := ""
	if vm, ok := p.model.Map().Get(ref).(*simulator.VirtualMachine); ok {
		adminContext(p.model).WithLock(vm, func() { name = vm.Name })
	}
	return name
}

func (p *powerOns) clone(w http.ResponseWriter, r *http.Request, body []byte) {
	name := soapText(body, "name")
	body = bytes.Replace(body, []byte(wanted), []byte("<powerOn>false</powerOn>"), 1)
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	p.note(name, 1)
	answer := httptest.NewRecorder()
	p.next.ServeHTTP(answer, r)
	task, ok := p.model.Map().Get(types.ManagedObjectReference{Type: "Task", Value: soapText(answer.Body.Bytes(), "returnval")}).(*simulator.Task)
	if ok {
		go p.powerOn(name, task)
	} else {
		p.note(name, -1)
	}
	writeWhole(w, answer)
}

// result waits for the end of a task; nil when it has failed, or ends after a quarter of an hour.
func (p *powerOns) result(task *simulator.Task) types.AnyType {
	for range 90000 {
		var state types.TaskInfoState
		var result types.AnyType
		adminContext(p.model).WithLock(task, func() { state, result = task.Info.State, task.Info.Result })
		switch state {
		case types.TaskInfoStateSuccess:
			return result
		case types.TaskInfoStateError:
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

func (p *powerOns) powerOn(name string, clone *simulator.Task) {
	defer p.note(name, -1)
	ref, ok := p.result(clone).(types.ManagedObjectReference)
	if !ok {
		return
	}
	time.Sleep(p.delay)
	vm, ok := p.model.Map().Get(ref).(*simulator.VirtualMachine)
	if !ok {
		return // somebody destroyed it
	}
	ctx := adminContext(p.model)
	var answer soap.HasFault
	ctx.WithLock(vm, func() { answer = vm.PowerOnVMTask(ctx, &types.PowerOnVM_Task{This: ref}) })
	if answer.Fault() != nil {
		log.Printf("powering on %s: %s", name, answer.Fault().String)
		return
	}
	if task, ok := p.model.Map().Get(answer.(*methods.PowerOnVM_TaskBody).Res.Returnval).(*simulator.Task); ok {
		p.result(task)
	}
}

// soapText is the text of the first element of that name, whatever its prefix.
func soapText(body []byte, name string) string {
	decoder := xml.NewDecoder(bytes.NewReader(body))
	for {
		token, err := decoder.Token()
		if err != nil {
			return ""
		}
		if element, ok := token.(xml.StartElement); ok && element.Name.Local == name {
			text := ""
			_ = decoder.DecodeElement(&text, &element)
			return text
		}
	}
}
