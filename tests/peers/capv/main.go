// SPDX-License-Identifier: Apache-2.0

// capv plays the part of Cluster API Provider vSphere for tests, which no registry serves: its kinds,
// its webhooks and its controllers, towards a vCenter or a simulator of one. It was written from facts
// about the real one, not from its source, and refuses what it does not do.
package main

import (
	"flag"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
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

func manager(args []string) error {
	fs := flag.NewFlagSet("manager", flag.ExitOnError)
	ctrl.RegisterFlags(fs)
	klog.InitFlags(fs)
	leader := fs.Bool("leader-elect", false, "let only one of several managers act")
	ns := fs.String("leader-election-namespace", os.Getenv("POD_NAMESPACE"), "`NAMESPACE` of the lease")
	health := fs.String("health-addr", ":9440", "`ADDRESS` of the probes")
	host := fs.String("webhook-host", "", "`HOST` that the webhooks are served on")
	port := fs.Int("webhook-port", 9443, "`PORT` that the webhooks are served on")
	certs := fs.String("webhook-cert-dir", "/tmp/k8s-webhook-server/serving-certs", "`FOLDER` of tls.crt and tls.key")
	credentials := fs.String("credentials-file", "", "`FILE` with username and password, for clusters that name no identity")
	fs.String("diagnostics-address", "", "taken and not used")
	fs.Bool("insecure-diagnostics", false, "taken and not used")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	ctrl.SetLogger(klog.Background())
	ctx := ctrl.SetupSignalHandler()

	scheme := runtime.NewScheme()
	addTypes(scheme)
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, clusterv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 100, 200
	config.UserAgent = "cluster-api-vsphere-stand-in"
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:        *health,
		LeaderElection:                *leader,
		LeaderElectionID:              "capv-controller-manager",
		LeaderElectionNamespace:       *ns,
		LeaderElectionReleaseOnCancel: true,
		WebhookServer:                 webhook.NewServer(webhook.Options{Host: *host, Port: *port, CertDir: *certs}),
	})
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
	if err = mgr.AddHealthzCheck("webhook", mgr.GetWebhookServer().StartedChecker()); err == nil {
		err = mgr.AddReadyzCheck("webhook", mgr.GetWebhookServer().StartedChecker())
	}
	if err == nil {
		err = mgr.AddHealthzCheck("ping", healthz.Ping)
	}
	if err != nil {
		return err
	}
	defer r.sessions.close()
	return mgr.Start(ctx)
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
	default:
		usage()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "capv:", err)
		os.Exit(1)
	}
}
