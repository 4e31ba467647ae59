// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// vcenter is what a vCenter does otherwise than the simulator, in place of the simulator's own objects.
type vcenter struct {
	folders *folders
	advice  *advice
}

func asVCenter(model *simulator.Model) *vcenter {
	v := &vcenter{folders: &folders{}, advice: &advice{}}
	model.Map().Handler = func(ctx *simulator.Context, method *simulator.Method) (mo.Reference, types.BaseMethodFault) {
		object, fault := v.folders.handle(ctx, method)
		if object == nil && fault == nil {
			object = v.advice.handle(ctx, method)
		}
		if object != nil {
			method.This.Type = "pcgVCenter" // else the session's view of the object takes this one's place
		}
		return object, fault
	}
	return v
}
