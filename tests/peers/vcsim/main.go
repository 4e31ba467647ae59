// SPDX-License-Identifier: Apache-2.0

// vcsim runs govmomi's vCenter simulator for tests: TLS by a certificate of the test's own, one user
// whose password is checked, a template as image-builder makes it, counts of what clients did, and a
// watcher that boots powered-on machines. It prints one JSON line when it is ready.
package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	_ "github.com/vmware/govmomi/pbm/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator"
)

type options struct {
	listen, admin, user, passwordFile, cert, key string
	model                                        modelFlag
	template                                     string
	delayMs, taskDelayMs, powerOnDelayMs         int
	watchURL, watchCA, watchTokenFile            string
	addressRange                                 string
	release                                      string
	api                                          bool
}

type ready struct {
	URL              string `json:"url"`
	Host             string `json:"host"`
	Port             string `json:"port"`
	Admin            string `json:"admin,omitempty"`
	PID              int    `json:"pid"`
	ThumbprintSHA1   string `json:"thumbprintSHA1"`
	ThumbprintSHA256 string `json:"thumbprintSHA256"`
	placement
}

func parseFlags() (*options, error) {
	o := &options{model: newModelFlag()}

	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "`HOST:PORT` to serve on; port 0 takes a free one")
	flag.StringVar(&o.admin, "admin", "", "loopback `HOST:PORT` for the tests' own requests (/calls, /fault, ...)")
	flag.StringVar(&o.user, "user", "administrator@vsphere.local", "the only `USER` who may log in")
	flag.StringVar(&o.passwordFile, "password-file", "", "`FILE` with that user's password (required)")
	flag.StringVar(&o.cert, "cert", "", "`FILE` with the server's certificate chain, PEM (required)")
	flag.StringVar(&o.key, "key", "", "`FILE` with the certificate's key, PEM (required)")
	flag.Var(&o.model, "model", "what there is at the start: `NAME=N,...` of "+o.model.names())
	flag.StringVar(&o.template, "template", "/DC0/vm/templates/ubuntu-2404-kube-v1.36.3",
		"inventory `PATH` of the template; empty for none")
	flag.IntVar(&o.delayMs, "delay-ms", 0, "`MS` that each call takes longer")
	flag.IntVar(&o.taskDelayMs, "task-delay-ms", 0, "`MS` that each clone, power, reconfigure and destroy task takes longer")
	flag.IntVar(&o.powerOnDelayMs, "power-on-delay-ms", 20, "`MS` from a clone's end to its power-on, which is a task of its own")
	flag.StringVar(&o.watchURL, "watch-kubeapi", "", "`URL` of the simulated cloud that gives machines a Kubernetes API")
	flag.StringVar(&o.watchCA, "watch-ca", "", "`FILE` with the CA of that URL, if it is https")
	flag.StringVar(&o.watchTokenFile, "watch-token-file", "", "`FILE` with a bearer token for that URL")
	flag.StringVar(&o.addressRange, "address-range", "10.77.0.0/24", "`CIDR` that machines get their addresses from")
	flag.StringVar(&o.release, "release", "8.0.3", "`VERSION` that it says it is; govmomi's own would be 6.5.0")
	flag.BoolVar(&o.api, "api", false, "have /api for tags and libraries too, as 7.0 U2 and newer")
	flag.Parse()

	for name, value := range map[string]string{
		"password-file": o.passwordFile, "cert": o.cert, "key": o.key,
	} {
		if value == "" {
			return nil, fmt.Errorf("--%s is required", name)
		}
	}
	if flag.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	return o, nil
}

func readSecret(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(data), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return secret, nil
}

func colonHex(sum []byte) string {
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = strings.ToUpper(hex.EncodeToString([]byte{b}))
	}
	return strings.Join(parts, ":")
}

func run() error {
	o, err := parseFlags()
	if err != nil {
		return err
	}
	password, err := readSecret(o.passwordFile)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return err
	}
	addresses, err := netip.ParsePrefix(o.addressRange)
	if err != nil {
		return fmt.Errorf("--address-range: %w", err)
	}

	model := o.model.model()
	about := &model.ServiceContent.About
	about.Version, about.ApiVersion = o.release, o.release+".0"
	about.FullName = fmt.Sprintf("%s %s build-%s", about.Name, about.Version, about.Build)
	model.DelayConfig.Delay = o.delayMs
	if err = model.Create(); err != nil {
		return err
	}
	defer model.Remove()
	o.model.makeTemplates(model)
	o.model.makeTwins(model)
	vcenter := asVCenter(model)

	where, err := describe(model, o.template, o.model)
	if err != nil {
		return err
	}
	delayTasks(o.taskDelayMs)
	if o.api {
		serveAPI(model)
	}

	front, err := serveFront(model, o.listen, url.UserPassword(o.user, password),
		&tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		time.Duration(o.powerOnDelayMs)*time.Millisecond)
	if err != nil {
		return err
	}
	defer front.close()

	var watch *watcher
	if o.watchURL != "" {
		watch, err = newWatcher(model, o.watchURL, o.watchCA, o.watchTokenFile, addresses)
		if err != nil {
			return err
		}
	}

	leaf := pair.Certificate[0]
	sha1Sum, sha256Sum := sha1.Sum(leaf), sha256.Sum256(leaf)
	report := ready{
		URL:              front.url.String(),
		Host:             front.url.Hostname(),
		Port:             front.url.Port(),
		PID:              os.Getpid(),
		ThumbprintSHA1:   colonHex(sha1Sum[:]),
		ThumbprintSHA256: colonHex(sha256Sum[:]),
		placement:        *where,
	}
	if o.admin != "" {
		report.Admin, err = serveAdmin(o.admin, model, front, watch, vcenter)
		if err != nil {
			return err
		}
	}

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if err = json.NewEncoder(os.Stdout).Encode(&report); err != nil {
		return err
	}
	<-stop
	return nil
}

// A task delay holds no lock, else the clones of one template would wait for each other. Tasks that
// the simulator starts inside others (CreateVm within CloneVm) are not delayed a second time.
func delayTasks(ms int) {
	if ms <= 0 {
		return
	}
	delays := map[string]int{"LockHandoff": 0}
	for _, name := range []string{
		"CloneVm", "PowerOn", "PowerOff", "ReconfigVm", "Destroy", "UnregisterAndDestroy", "RelocateVm", "MoveIntoFolder",
	} {
		delays[name] = ms
	}
	simulator.TaskDelay = simulator.DelayConfig{MethodDelay: delays}
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("vcsim: ")
	err := run()
	var fault types.HasFault
	if errors.As(err, &fault) {
		log.Fatalf("%v (%T)", err, fault.Fault())
	}
	if err != nil {
		log.Fatal(err)
	}
}
