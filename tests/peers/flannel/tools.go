// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package tools keeps the command that build-peers builds among the requirements of go.mod.
package tools

import _ "github.com/flannel-io/flannel/cmd/install_conf"
