// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// reasons lets tasks say who began them, as DOMAIN\user: the simulator says "vcsim" of all of them.
type reasons struct{}

func (reasons) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "pcgReasons", Value: "pcgReasons"}
}

func (reasons) PutObject(*simulator.Context, mo.Reference) {}

func (reasons) RemoveObject(*simulator.Context, types.ManagedObjectReference) {}

// UpdateObject waits for the task's begin, which has the session.
func (reasons) UpdateObject(ctx *simulator.Context, obj mo.Reference, _ []types.PropertyChange) {
	var info *types.TaskInfo
	switch task := obj.(type) {
	case *simulator.Task:
		info = &task.Info
	case *mo.Task:
		info = &task.Info
	default:
		return
	}
	if reason, ok := info.Reason.(*types.TaskReasonUser); !ok || reason.UserName != "vcsim" || ctx.Session == nil {
		return
	}
	who := ctx.Session.UserName
	if user, domain, is := strings.Cut(who, "@"); is {
		who = strings.ToUpper(domain) + `\` + user
	}
	info.Reason = &types.TaskReasonUser{UserName: who}
}
