// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package tools keeps the commands that build-peers builds among the requirements of go.mod.
package tools

import (
	_ "sigs.k8s.io/cluster-api/bootstrap/kubeadm"
	_ "sigs.k8s.io/cluster-api/cmd/clusterctl"
	_ "sigs.k8s.io/cluster-api/controlplane/kubeadm"
	_ "sigs.k8s.io/cluster-api/core"
)
