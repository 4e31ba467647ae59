// SPDX-License-Identifier: Apache-2.0

//go:build tools

// The modules whose manifests go into the bundle.
package main

import (
	_ "github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	_ "sigs.k8s.io/cluster-api/version"
)
