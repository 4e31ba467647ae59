// SPDX-License-Identifier: Apache-2.0

// kube-vip plays the part of kube-vip for tests, which no registry serves: as the static pod of a control
// plane it holds the cluster's address while it holds the lease. It reads the environment of the real
// one's manifest and ends with an error where that makes no sense.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

const (
	kubeconfig = "/etc/kubernetes/admin.conf"
	ownAPI     = "kubernetes" // a name of this machine, by the pod's /etc/hosts
	arpEvery   = 3 * time.Second
)

type settings struct {
	address               netip.Addr
	bits, port            int
	link                  netlink.Link
	elect                 bool
	namespace, lease, id  string
	duration, renew, wait time.Duration
}

type environment struct{ errs []error }

func (e *environment) fail(format string, args ...any) {
	e.errs = append(e.errs, fmt.Errorf(format, args...))
}

func (e *environment) text(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

func (e *environment) flag(name string) bool {
	value := e.text(name, "false")
	is, err := strconv.ParseBool(value)
	if err != nil {
		e.fail("%s: %q is no boolean", name, value)
	}
	return is
}

func (e *environment) number(name string, fallback, least, most int) int {
	value := e.text(name, strconv.Itoa(fallback))
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		e.fail("%s: %q is no number from %d to %d", name, value, least, most)
	}
	return n
}

func (e *environment) seconds(name string, fallback int) time.Duration {
	return time.Duration(e.number(name, fallback, 1, 3600)) * time.Second
}

func readSettings() (*settings, error) {
	e := &environment{}
	s := &settings{
		port: e.number("port", 6443, 1, 65535), elect: e.flag("vip_leaderelection"),
		namespace: e.text("cp_namespace", "kube-system"), lease: e.text("vip_leasename", "plndr-cp-lock"),
		duration: e.seconds("vip_leaseduration", 5), renew: e.seconds("vip_renewdeadline", 3),
		wait: e.seconds("vip_retryperiod", 1),
	}
	if !e.flag("cp_enable") {
		e.fail("no features are enabled: cp_enable must be true")
	}
	if !e.flag("vip_arp") {
		e.fail("vip_arp must be true: there is nothing else here that announces the address")
	}
	address := e.text("address", os.Getenv("vip_address"))
	var err error
	if address == "" {
		e.fail("no address is set")
	} else if s.address, err = netip.ParseAddr(address); err != nil {
		e.fail("address: %v", err)
	} else if !s.address.Is4() {
		e.fail("address: %s is not of version 4, the only one that this stand-in announces", address)
	}
	s.bits = e.number(map[bool]string{true: "vip_subnet", false: "vip_cidr"}[os.Getenv("vip_subnet") != ""], 32, 0, 32)
	if s.duration <= s.renew || s.renew <= s.wait {
		e.fail("vip_leaseduration (%s) must be longer than vip_renewdeadline (%s), and that than vip_retryperiod (%s)",
			s.duration, s.renew, s.wait)
	}
	if s.link, err = findLink(os.Getenv("vip_interface")); err != nil {
		e.fail("vip_interface: %v", err)
	}
	if s.id = os.Getenv("vip_nodename"); s.id == "" {
		if s.id, err = os.Hostname(); err != nil {
			e.fail("host name: %v", err)
		}
	}
	return s, errors.Join(e.errs...)
}

// findLink finds an interface by name, or else the one of the default route.
func findLink(name string) (netlink.Link, error) {
	if name != "" {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return link, nil
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		if r.Dst == nil || (r.Dst.IP.IsUnspecified() && isZero(r.Dst.Mask)) {
			return netlink.LinkByIndex(r.LinkIndex)
		}
	}
	return nil, errors.New("none is set and there is no default route to tell it by")
}

func isZero(mask net.IPMask) bool {
	ones, _ := mask.Size()
	return ones == 0
}

func (s *settings) addr() *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{
		IP: s.address.AsSlice(), Mask: net.CIDRMask(s.bits, s.address.BitLen()),
	}}
}

func (s *settings) remove() error {
	err := netlink.AddrDel(s.link, s.addr())
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return err
}

// hold has the address on the interface and tells the neighbours, until the context ends.
func (s *settings) hold(ctx context.Context) error {
	if err := netlink.AddrReplace(s.link, s.addr()); err != nil {
		return fmt.Errorf("adding %s to %s: %w", s.address, s.link.Attrs().Name, err)
	}
	log.Printf("event=address_added address=%s interface=%s", s.address, s.link.Attrs().Name)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return fmt.Errorf("raw socket for ARP (NET_RAW): %w", err)
	}
	defer unix.Close(fd)
	ticks := time.NewTicker(arpEvery)
	defer ticks.Stop()
	for {
		if err = s.announce(fd); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
			// Somebody may have taken it away; the real one puts it back as well.
			if err = netlink.AddrReplace(s.link, s.addr()); err != nil {
				return err
			}
		}
	}
}

// announce sends a gratuitous ARP request and reply, so that neighbours forget who had the address.
func (s *settings) announce(fd int) error {
	mac := s.link.Attrs().HardwareAddr
	if len(mac) != 6 {
		return nil // loopback and the like have no neighbours
	}
	ip := s.address.As4()
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	for _, op := range []byte{1, 2} {
		frame := append(append([]byte{}, broadcast...), mac...)
		frame = append(frame, 0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, op)
		frame = append(append(frame, mac...), ip[:]...)
		frame = append(append(frame, broadcast...), ip[:]...)
		to := &unix.SockaddrLinklayer{Protocol: 0x0608, Ifindex: s.link.Attrs().Index, Halen: 6}
		copy(to.Addr[:], broadcast)
		if err := unix.Sendto(fd, frame, 0, to); err != nil {
			return fmt.Errorf("gratuitous ARP on %s: %w", s.link.Attrs().Name, err)
		}
	}
	return nil
}

// client talks to the API server of this very machine: the address may not be there yet.
func (s *settings) client() (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.Host = "https://" + net.JoinHostPort(ownAPI, strconv.Itoa(s.port))
	config.Timeout = s.renew
	return kubernetes.NewForConfig(config)
}

func run(ctx context.Context) error {
	s, err := readSettings()
	if err != nil {
		return err
	}
	if err = s.remove(); err != nil {
		return fmt.Errorf("removing an old %s: %w", s.address, err)
	}
	if !s.elect {
		err = s.hold(ctx)
		return errors.Join(err, s.remove())
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	var held error
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: s.namespace, Name: s.lease},
			Client:     client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: s.id},
		},
		ReleaseOnCancel: true,
		LeaseDuration:   s.duration, RenewDeadline: s.renew, RetryPeriod: s.wait,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				if held = s.hold(ctx); held != nil {
					log.Printf("event=hold_failed error=%q", held)
					_ = s.remove()
					os.Exit(1)
				}
			},
			OnStoppedLeading: func() {
				if err := s.remove(); err != nil {
					log.Printf("event=remove_failed error=%q", err)
				}
				log.Printf("event=address_removed address=%s", s.address)
			},
			OnNewLeader: func(id string) { log.Printf("event=leader id=%s", id) },
		},
	})
	if err != nil {
		return err
	}
	elector.Run(ctx)
	if ctx.Err() == nil {
		return errors.New("lost leadership, restarting")
	}
	return nil
}

func main() {
	log.SetFlags(log.LstdFlags | log.LUTC)
	log.SetPrefix("kube-vip: ")
	if len(os.Args) != 2 || os.Args[1] != "manager" {
		log.Fatalf("the only thing to do here is \"manager\", not %q", os.Args[1:])
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}
