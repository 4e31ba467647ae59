// SPDX-License-Identifier: Apache-2.0

// flanneld from flannel's own packages, with subnets from Kubernetes and the backend host-gw: the
// way of flannel's main, less the backends of clouds, whose modules are not needed here.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw"
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/ipmatch"
	"github.com/flannel-io/flannel/pkg/subnet"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"github.com/flannel-io/flannel/pkg/trafficmngr/iptables"
)

const resyncSeconds = 5

func getConfig(ctx context.Context, manager subnet.Manager) (*subnet.Config, error) {
	for {
		config, err := manager.GetNetworkConfig(ctx)
		if err == nil && config != nil {
			return config, nil
		}
		log.Printf("network configuration: %v; trying again", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func serveHealth(port int, ready *atomic.Bool) {
	if port == 0 {
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "running") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	server := &http.Server{Addr: net.JoinHostPort("", strconv.Itoa(port)), Handler: mux}
	go func() { log.Print(server.ListenAndServe()) }()
}

func run() error {
	kubeSubnets := flag.Bool("kube-subnet-mgr", false, "take subnets from Kubernetes (required)")
	masquerade := flag.Bool("ip-masq", false, "masquerade what leaves the pods' network")
	healthPort := flag.Int("healthz-port", 0, "`PORT` of /healthz and /readyz")
	subnetFile := flag.String("subnet-file", "/run/flannel/subnet.env", "`FILE` for the network plugin")
	netConf := flag.String("net-config-path", "/etc/kube-flannel/net-conf.json", "`FILE` with the network")
	flag.Parse()
	if !*kubeSubnets {
		return errors.New("--kube-subnet-mgr is required")
	}

	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	var ready atomic.Bool
	serveHealth(*healthPort, &ready)

	manager, err := kube.NewSubnetManager(ctx, "", "", "flannel.alpha.coreos.com", *netConf, true)
	if err != nil {
		return fmt.Errorf("subnet manager: %w", err)
	}
	config, err := getConfig(ctx, manager)
	if err != nil {
		return err
	}
	family, err := ipmatch.GetIPFamily(config.EnableIPv4, config.EnableIPv6)
	if err != nil {
		return err
	}
	address, _ := manager.GetStoredPublicIP(ctx)
	outside, err := ipmatch.LookupExtIface(address, "", "", family, ipmatch.PublicIPOpts{PublicIP: address})
	if err != nil {
		return fmt.Errorf("no interface to use: %w", err)
	}
	plan, err := backend.NewManager(ctx, manager, outside).GetBackend(config.BackendType)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	network, err := plan.RegisterNetwork(ctx, &wg, config)
	if err != nil {
		return fmt.Errorf("backend %s: %w", config.BackendType, err)
	}

	rules := &iptables.IPTablesManager{}
	if err = rules.Init(ctx); err != nil {
		return err
	}
	if *masquerade {
		err = rules.SetupAndEnsureMasqRules(ctx, config.Network, ip.IP4Net{}, ip.IP4Net{},
			config.IPv6Network, ip.IP6Net{}, ip.IP6Net{}, network.Lease(), resyncSeconds, false)
		if err != nil {
			return fmt.Errorf("masquerading: %w", err)
		}
	}
	rules.SetupAndEnsureForwardRules(ctx, config.Network, config.IPv6Network, resyncSeconds)

	lease := network.Lease()
	err = manager.HandleSubnetFile(*subnetFile, config, *masquerade, lease.Subnet, lease.IPv6Subnet, network.MTU())
	if err != nil {
		return fmt.Errorf("%s: %w", *subnetFile, err)
	}
	ready.Store(true)
	log.Printf("subnet %s by %s", lease.Subnet, config.BackendType)
	wg.Add(1)
	go func() {
		network.Run(ctx)
		wg.Done()
	}()
	if err = manager.CompleteLease(ctx, lease, &wg); err != nil {
		return err
	}
	wg.Wait()
	return nil
}

func main() {
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
