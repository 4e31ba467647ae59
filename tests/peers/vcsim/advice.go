// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net/http"
	"strconv"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// advice bounds how many datastores are recommended, the simulator's first ones: it recommends all of a datastore cluster.
type advice struct {
	mu     sync.Mutex
	most   int // 0: all
	leases []int32
}

func (a *advice) handle(ctx *simulator.Context, method *simulator.Method) mo.Reference {
	manager, ok := ctx.Map.Get(method.This).(*simulator.StorageResourceManager)
	if !ok || method.Name != "RecommendDatastores" {
		return nil
	}
	return &adviser{manager, a}
}

type adviser struct {
	*simulator.StorageResourceManager
	advice *advice
}

func (a *adviser) RecommendDatastores(ctx *simulator.Context, req *types.RecommendDatastores) soap.HasFault {
	body := a.StorageResourceManager.RecommendDatastores(ctx, req)
	a.advice.mu.Lock()
	defer a.advice.mu.Unlock()
	a.advice.leases = append(a.advice.leases, req.StorageSpec.ResourceLeaseDurationSec)
	if answer, ok := body.(*methods.RecommendDatastoresBody); ok && answer.Res != nil && a.advice.most > 0 {
		list := &answer.Res.Returnval.Recommendations
		*list = (*list)[:min(len(*list), a.advice.most)]
	}
	return body
}

// recommend lets at most ?most= datastores be recommended from now on, and tells for how long each call asked to hold their space.
func (a *admin) recommend(r *http.Request) (any, error) {
	most, err := strconv.Atoi(r.URL.Query().Get("most"))
	a.vcenter.advice.mu.Lock()
	defer a.vcenter.advice.mu.Unlock()
	a.vcenter.advice.most = most
	return map[string]any{"leases": append([]int32{}, a.vcenter.advice.leases...)}, err
}

// freeSpace says how many GiB of a datastore are free.
func (a *admin) freeSpace(r *http.Request) (any, error) {
	gib, err := strconv.ParseInt(r.URL.Query().Get("gib"), 10, 64)
	if err != nil {
		return nil, err
	}
	ctx := adminContext(a.model)
	for _, entity := range a.model.Map().All("Datastore") {
		store := entity.(*simulator.Datastore)
		if store.Name == r.URL.Query().Get("datastore") {
			ctx.WithLock(store, func() { store.Summary.FreeSpace = gib << 30 })
			return struct{}{}, nil
		}
	}
	return nil, errors.New("there is no datastore of that name")
}
