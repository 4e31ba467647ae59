// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// cancelTask does what the simulator leaves out of the end of a task: it says that the task was canceled, and carries it out all
// the same. A clone that has not begun, for tasks are delayed, makes no machine; what is at work already cannot be canceled.
func (f *front) cancelTask(w http.ResponseWriter, r *http.Request, ref types.ManagedObjectReference) {
	task, ok := f.model.Map().Get(ref).(*simulator.Task)
	if ok && f.runs(task) && !f.stopClone(task) {
		f.answerFault(w, &frontFault{Fault: "NotSupported", Message: "The operation is not supported on the object."})
		return
	}
	f.next.ServeHTTP(w, r)
}

func (f *front) runs(task *simulator.Task) bool {
	runs := false
	adminContext(f.model).WithLock(task, func() {
		runs = task.Info.State == types.TaskInfoStateQueued || task.Info.State == types.TaskInfoStateRunning
	})
	return runs
}

func (f *front) stopClone(task *simulator.Task) bool {
	if simulator.TaskDelay.MethodDelay["CloneVm"] == 0 || !strings.Contains(strings.ToLower(task.Info.DescriptionId), "clone") {
		return false
	}
	adminContext(f.model).WithLock(task, func() {
		task.Execute = func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
			return nil, &types.RequestCanceled{}
		}
	})
	return true
}
