// SPDX-License-Identifier: Apache-2.0

// userdata prints the user data of a node as Cluster API's bootstrap provider makes it, by its own
// packages: of a first control plane node with new certificate authorities, which are also kept in
// a folder, or of a worker that joins the cluster of that folder.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/blang/semver/v4"

	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	"sigs.k8s.io/cluster-api/bootstrap/kubeadm/pkg/cloudinit"
	kubeadmtypes "sigs.k8s.io/cluster-api/bootstrap/kubeadm/pkg/types"
	"sigs.k8s.io/cluster-api/bootstrap/kubeadm/pkg/types/upstream"
	"sigs.k8s.io/cluster-api/util/secret"

	"crypto/x509"
)

const providerIDUnknown = "vsphere://smbios-uuid"

type options struct {
	endpoint, version, folder, token string
	podSubnet, serviceSubnet         string
	join                             bool
	parsed                           semver.Version
}

// A node of vSphere learns its provider id from its firmware before kubeadm runs.
func providerIDCommand(file string) string {
	return `uuid=$(sed 's/^VMware-//; s/[ -]//g; s/\(........\)\(....\)\(....\)\(....\)/\1-\2-\3-\4-/' ` +
		`/sys/class/dmi/id/product_serial) && sed -i "s#` + providerIDUnknown + `#vsphere://$uuid#" ` + file
}

func registration() bootstrapv1.NodeRegistrationOptions {
	id := providerIDUnknown
	return bootstrapv1.NodeRegistrationOptions{
		Name:      "{{ ds.meta_data.hostname }}",
		CRISocket: "unix:///var/run/containerd/containerd.sock",
		KubeletExtraArgs: []bootstrapv1.Arg{{
			Name: "provider-id", Value: &id,
		}},
	}
}

func base(file string, version semver.Version) cloudinit.BaseUserData {
	return cloudinit.BaseUserData{
		KubernetesVersion: version,
		PreKubeadmCommands: []string{
			`hostname "{{ ds.meta_data.hostname }}"`,
			`echo "::1         ipv6-localhost ipv6-loopback localhost6 localhost6.localdomain6" >/etc/hosts`,
			`echo "127.0.0.1   {{ ds.meta_data.hostname }} localhost localhost.localdomain" >>/etc/hosts`,
			providerIDCommand(file),
		},
		Users: []bootstrapv1.User{{Name: "capv", Sudo: "ALL=(ALL) NOPASSWD:ALL"}},
	}
}

func initUserData(o *options) ([]byte, error) {
	configuration := &bootstrapv1.ClusterConfiguration{ControlPlaneEndpoint: o.endpoint}
	certificates := secret.NewCertificatesForInitialControlPlane(configuration)
	if err := certificates.Generate(); err != nil {
		return nil, err
	}
	for _, file := range certificates.AsFiles() {
		path := filepath.Join(o.folder, strings.TrimPrefix(file.Path, "/etc/kubernetes/pki/"))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(file.Content), 0o600); err != nil {
			return nil, err
		}
	}
	name, domain := "peer", "cluster.local"
	cluster, err := kubeadmtypes.MarshalClusterConfigurationForVersion(configuration, o.parsed,
		&upstream.AdditionalData{
			KubernetesVersion: &o.version, ClusterName: &name, DNSDomain: &domain,
			PodSubnet: &o.podSubnet, ServiceSubnet: &o.serviceSubnet,
		})
	if err != nil {
		return nil, err
	}
	token := bootstrapv1.BootstrapTokenString{}
	if token.ID, token.Secret, err = splitToken(o.token); err != nil {
		return nil, err
	}
	first, err := kubeadmtypes.MarshalInitConfigurationForVersion(&bootstrapv1.InitConfiguration{
		NodeRegistration: registration(),
		BootstrapTokens: []bootstrapv1.BootstrapToken{{
			Token: token, Usages: []string{"signing", "authentication"},
			Groups: []string{"system:bootstrappers:kubeadm:default-node-token"},
		}},
	}, o.parsed)
	if err != nil {
		return nil, err
	}
	return cloudinit.NewInitControlPlane(&cloudinit.ControlPlaneInput{
		BaseUserData: base("/run/kubeadm/kubeadm.yaml", o.parsed), Certificates: certificates,
		ClusterConfiguration: cluster, InitConfiguration: first,
	})
}

func splitToken(token string) (string, string, error) {
	id, key, found := strings.Cut(token, ".")
	if !found {
		return "", "", errors.New("--token is ID.SECRET")
	}
	return id, key, nil
}

func joinUserData(o *options) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(o.folder, "ca.crt"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s/ca.crt holds no certificate", o.folder)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(certificate.RawSubjectPublicKeyInfo)
	configuration, err := kubeadmtypes.MarshalJoinConfigurationForVersion(&bootstrapv1.JoinConfiguration{
		NodeRegistration: registration(),
		Discovery: bootstrapv1.Discovery{BootstrapToken: bootstrapv1.BootstrapTokenDiscovery{
			Token: o.token, APIServerEndpoint: o.endpoint,
			CACertHashes: []string{"sha256:" + hex.EncodeToString(sum[:])},
		}},
	}, o.parsed)
	if err != nil {
		return nil, err
	}
	return cloudinit.NewNode(&cloudinit.NodeInput{
		BaseUserData:      base("/run/kubeadm/kubeadm-join-config.yaml", o.parsed),
		JoinConfiguration: configuration,
	})
}

func run() error {
	o := &options{}
	flag.StringVar(&o.endpoint, "endpoint", "", "`HOST:PORT` of the cluster's API (required)")
	flag.StringVar(&o.version, "kubernetes-version", "v1.36.3", "`VERSION` of Kubernetes")
	flag.StringVar(&o.folder, "pki", "", "`FOLDER` for the certificate authorities (required)")
	flag.StringVar(&o.token, "token", "abcdef.0123456789abcdef", "bootstrap `TOKEN`")
	flag.StringVar(&o.podSubnet, "pod-subnet", "192.168.0.0/16", "`CIDR` of pods")
	flag.StringVar(&o.serviceSubnet, "service-subnet", "10.96.0.0/12", "`CIDR` of services")
	flag.BoolVar(&o.join, "join", false, "a worker that joins, instead of the first node")
	flag.Parse()
	if o.endpoint == "" || o.folder == "" {
		return errors.New("--endpoint and --pki are required")
	}
	var err error
	if o.parsed, err = semver.ParseTolerant(o.version); err != nil {
		return err
	}
	make := initUserData
	if o.join {
		make = joinUserData
	}
	out, err := make(o)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(out)
	return err
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("userdata: ")
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
