// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package tools keeps the commands that build-peers builds among the requirements of go.mod.
package tools

import _ "k8s.io/kubernetes/cmd/kubeadm"
