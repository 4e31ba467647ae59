// SPDX-License-Identifier: Apache-2.0

// capv plays the part of Cluster API Provider vSphere for tests, which no registry serves: its kinds,
// its webhooks and its controllers, towards a vCenter or a simulator of one. It was written from facts
// about the real one, has none of its code, and refuses what it does not do. As another manager it plays the IPAM
// provider in-cluster.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ipamv1 "sigs.k8s.io/cluster-api/api/ipam/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/yaml"
)

const defaultImage = "registry.k8s.io/cluster-api-vsphere/cluster-api-vsphere-controller:v1.17.0"

func usage() {
	fmt.Fprint(os.Stderr, `usage: capv manager [FLAG...]       runs the controllers and webhooks; --help lists the flags
       capv manifest [--image IMAGE]  prints infrastructure-components.yaml
       capv metadata                  prints metadata.yaml
       capv ipam-manager [FLAG...]    the same of the address provider
       capv ipam-manifest, capv ipam-metadata
`)
	os.Exit(2)
}

func readCredentials(path string, r *reconcilers) error {
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var c struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	if err = yaml.UnmarshalStrict(data, &c); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	r.user, r.password = c.Username, c.Password
	return nil
}

// ends is where a manager is reached, and who leads.
type ends struct {
	leader                  bool
	ns, health, host, certs string
	port                    int
}

func (e *ends) flags(fs *flag.FlagSet, health, at string) {
	ctrl.RegisterFlags(fs)
	klog.InitFlags(fs)
	fs.BoolVar(&e.leader, "leader-elect", false, "let only one of several managers act")
	fs.StringVar(&e.ns, "leader-election-namespace", os.Getenv("POD_NAMESPACE"), "`NAMESPACE` of the lease")
	fs.StringVar(&e.health, health, at, "`ADDRESS` of the probes")
	fs.StringVar(&e.host, "webhook-host", "", "`HOST` that the webhooks are served on")
	fs.IntVar(&e.port, "webhook-port", 9443, "`PORT` that the webhooks are served on")
	fs.StringVar(&e.certs, "webhook-cert-dir", "/tmp/k8s-webhook-server/serving-certs", "`FOLDER` of tls.crt and tls.key")
	fs.String("diagnostics-address", "", "taken and not used")
	fs.Bool("insecure-diagnostics", false, "taken and not used")
}

func parse(fs *flag.FlagSet, args []string) error {
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	ctrl.SetLogger(klog.Background())
	return nil
}

func (e *ends) manager(lease, agent string, types ...func(*runtime.Scheme) error) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range append(types, clientgoscheme.AddToScheme, clusterv1.AddToScheme, ipamv1.AddToScheme) {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 100, 200
	config.UserAgent = agent
	return ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:        e.health,
		LeaderElection:                e.leader,
		LeaderElectionID:              lease,
		LeaderElectionNamespace:       e.ns,
		LeaderElectionReleaseOnCancel: true,
		WebhookServer:                 webhook.NewServer(webhook.Options{Host: e.host, Port: e.port, CertDir: e.certs}),
	})
}

func serve(ctx context.Context, mgr ctrl.Manager) error {
	err := mgr.AddHealthzCheck("webhook", mgr.GetWebhookServer().StartedChecker())
	if err == nil {
		err = mgr.AddReadyzCheck("webhook", mgr.GetWebhookServer().StartedChecker())
	}
	if err == nil {
		err = mgr.AddHealthzCheck("ping", healthz.Ping)
	}
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func manager(args []string) error {
	fs, e := flag.NewFlagSet("manager", flag.ExitOnError), &ends{}
	e.flags(fs, "health-addr", ":9440")
	credentials := fs.String("credentials-file", "", "`FILE` with username and password, for clusters that name no identity")
	if err := parse(fs, args); err != nil {
		return err
	}
	ctx := ctrl.SetupSignalHandler()
	mgr, err := e.manager("capv-controller-manager", "cluster-api-vsphere-stand-in", addTypes)
	if err != nil {
		return err
	}
	r := &reconcilers{
		Client: mgr.GetClient(), namespace: os.Getenv("POD_NAMESPACE"),
		sessions: &sessions{live: map[string]*vcenter{}}, waits: newWaits(),
	}
	if err = readCredentials(*credentials, r); err != nil {
		return err
	}
	if err = r.setup(mgr); err != nil {
		return err
	}
	registerWebhooks(mgr)
	defer r.sessions.close()
	return serve(ctx, mgr)
}

func ipamManager(args []string) error {
	fs, e := flag.NewFlagSet("ipam-manager", flag.ExitOnError), &ends{}
	e.flags(fs, "health-probe-bind-address", ":8081")
	if err := parse(fs, args); err != nil {
		return err
	}
	ctx := ctrl.SetupSignalHandler()
	mgr, err := e.manager("7bb7acb4.ipam.cluster.x-k8s.io", "cluster-api-ipam-stand-in", addPoolTypes)
	if err != nil {
		return err
	}
	if err = (&addressProvider{Client: mgr.GetClient()}).setup(mgr); err != nil {
		return err
	}
	registerPoolHook(mgr)
	return serve(ctx, mgr)
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	var err error
	switch args := os.Args[2:]; os.Args[1] {
	case "manager":
		err = manager(args)
	case "manifest":
		fs := flag.NewFlagSet("manifest", flag.ExitOnError)
		image := fs.String("image", defaultImage, "`IMAGE` of the manager")
		_ = fs.Parse(args)
		err = printManifest(os.Stdout, *image)
	case "metadata":
		_, err = fmt.Print(metadataYAML)
	case "ipam-manager":
		err = ipamManager(args)
	case "ipam-manifest":
		err = printObjects(os.Stdout, ipamComponents())
	case "ipam-metadata":
		_, err = fmt.Print(ipamMetadataYAML)
	default:
		usage()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "capv:", err)
		os.Exit(1)
	}
}
