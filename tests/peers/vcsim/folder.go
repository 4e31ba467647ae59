// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// folders removes folders of machines as a vCenter does ("Folder" of the Web Services API): Destroy_Task destroys what is in them,
// with its files; UnregisterAndDestroy_Task takes it out of the inventory alone. Both end at the first that does not go. The
// simulator has the first one, which leaves what is in the folder without a parent, and not the second.
type folders struct {
	mu     sync.Mutex
	before func() error
}

// beforeNext is done when the next folder is to be removed, before it is vCenter's turn.
func (f *folders) beforeNext(do func() error) {
	f.mu.Lock()
	f.before = do
	f.mu.Unlock()
}

func (f *folders) handle(ctx *simulator.Context, method *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	if method.Name != "Destroy_Task" && method.Name != "UnregisterAndDestroy_Task" {
		return nil, nil
	}
	folder, ok := ctx.Map.Get(method.This).(*simulator.Folder)
	if !ok || !slices.Contains(folder.ChildType, "VirtualMachine") {
		return nil, nil
	}
	f.mu.Lock()
	before := f.before
	f.before = nil
	f.mu.Unlock()
	if before != nil {
		if err := before(); err != nil {
			return nil, &types.SystemError{Reason: err.Error()}
		}
	}
	return &machineFolder{folder}, nil
}

type machineFolder struct {
	*simulator.Folder
}

func (f *machineFolder) DestroyTask(ctx *simulator.Context, _ *types.Destroy_Task) soap.HasFault {
	task := simulator.CreateTask(f, "destroy", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		return nil, f.remove(ctx, destroyMachine)
	})
	return &methods.Destroy_TaskBody{Res: &types.Destroy_TaskResponse{Returnval: task.Run(ctx)}}
}

func (f *machineFolder) UnregisterAndDestroyTask(ctx *simulator.Context, _ *types.UnregisterAndDestroy_Task) soap.HasFault {
	task := simulator.CreateTask(f, "unregisterAndDestroy", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		return nil, f.remove(ctx, unregisterMachine)
	})
	return &methods.UnregisterAndDestroy_TaskBody{Res: &types.UnregisterAndDestroy_TaskResponse{Returnval: task.Run(ctx)}}
}

type machineEnd func(*simulator.Context, *simulator.VirtualMachine) types.BaseMethodFault

func (f *machineFolder) remove(ctx *simulator.Context, end machineEnd) types.BaseMethodFault {
	for _, ref := range slices.Clone(f.ChildEntity) {
		var fault types.BaseMethodFault
		switch child := ctx.Map.Get(ref).(type) {
		case *simulator.Folder:
			ctx.WithLock(child, func() { fault = (&machineFolder{child}).remove(ctx, end) })
		case *simulator.VirtualMachine:
			ctx.WithLock(child, func() { fault = end(ctx, child) })
		default:
			fault = &types.NotSupported{}
		}
		if fault != nil {
			return fault
		}
	}
	parent := ctx.Map.Get(*f.Parent).(*simulator.Folder)
	ctx.Map.Remove(ctx, f.Self)
	ctx.WithLock(parent, func() { ctx.Map.RemoveReference(ctx, parent, &parent.ChildEntity, f.Self) })
	return nil
}

func unregisterMachine(ctx *simulator.Context, vm *simulator.VirtualMachine) types.BaseMethodFault {
	body := vm.UnregisterVM(ctx, &types.UnregisterVM{This: vm.Self})
	if body.Fault() == nil {
		return nil
	}
	return body.Fault().VimFault().(types.BaseMethodFault)
}

func destroyMachine(ctx *simulator.Context, vm *simulator.VirtualMachine) types.BaseMethodFault {
	body := vm.DestroyTask(ctx, &types.Destroy_Task{This: vm.Self}).(*methods.Destroy_TaskBody)
	task := ctx.Map.Get(body.Res.Returnval).(*simulator.Task)
	task.Wait()
	if task.Info.Error == nil {
		return nil
	}
	return task.Info.Error.Fault
}
