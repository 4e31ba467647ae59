// SPDX-License-Identifier: Apache-2.0

// bundle makes a bundle folder laid out as clusterctl's local repository, out of what build-peers put
// beside this program: each provider's manifest as kustomize makes it from its module. What asks for
// certificates there (Certificate, Issuer, annotations for the CA injector) becomes certificates.
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	capiVersion        = "v1.14.2"
	capvVersion        = "v1.17.0"
	ipamVersion        = "v1.1.0"
	certManagerVersion = "v1.21.1"
	injectCA           = "cert-manager.io/inject-ca-from"
	stagingRegistry    = "gcr.io/k8s-staging-cluster-api/"
	registry           = "registry.k8s.io/cluster-api/"
)

type component struct{ from, folder, version, file, metadata string }

var components = []component{
	{"cert-manager.yaml", "cert-manager", certManagerVersion, "cert-manager.yaml", ""},
	{"core.yaml", "cluster-api", capiVersion, "core-components.yaml", "capi-metadata.yaml"},
	{"bootstrap.yaml", "bootstrap-kubeadm", capiVersion, "bootstrap-components.yaml", "capi-metadata.yaml"},
	{"control-plane.yaml", "control-plane-kubeadm", capiVersion, "control-plane-components.yaml", "capi-metadata.yaml"},
	{"vsphere.yaml", "infrastructure-vsphere", capvVersion, "infrastructure-components.yaml", "capv-metadata.yaml"},
	{"ipam.yaml", "ipam-in-cluster", ipamVersion, "ipam-components.yaml", "ipam-metadata.yaml"},
}

type doc = map[string]any

// at follows keys into a document; nil where it ends.
func at(d any, keys ...string) any {
	for _, key := range keys {
		m, ok := d.(doc)
		if !ok {
			return nil
		}
		d = m[key]
	}
	return d
}

func text(d any, keys ...string) string {
	s, _ := at(d, keys...).(string)
	return s
}

func readAll(path string) ([]doc, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []doc
	for _, part := range bytes.Split(append([]byte("\n"), data...), []byte("\n---\n")) {
		var d doc
		if err = yaml.Unmarshal(part, &d); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if d != nil {
			all = append(all, d)
		}
	}
	return all, nil
}

type issuer struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

// The clock of a node may be a day off.
func validity() (from, to time.Time) {
	now := time.Now()
	return now.Add(-48 * time.Hour), now.AddDate(10, 0, 0)
}

func newIssuer() (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	from, to := validity()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "webhooks of the bundle"},
		NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &issuer{key, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, err
}

// secret is what cert-manager would make of a Certificate.
func (i *issuer) secret(certificate doc) (doc, error) {
	var names []string
	list, _ := at(certificate, "spec", "dnsNames").([]any)
	for _, n := range list {
		names = append(names, n.(string))
	}
	if len(names) == 0 || text(certificate, "spec", "secretName") == "" {
		return nil, fmt.Errorf("Certificate %s has no dnsNames or no secretName", text(certificate, "metadata", "name"))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	from, to := validity()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: from, NotAfter: to, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, i.cert, key.Public(), i.key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	encode := base64.StdEncoding.EncodeToString
	return doc{
		"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
		"metadata": doc{
			"name": text(certificate, "spec", "secretName"), "namespace": text(certificate, "metadata", "namespace"),
			"labels": at(certificate, "metadata", "labels"),
		},
		"data": doc{
			"ca.crt":  encode(i.pem),
			"tls.crt": encode(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
			"tls.key": encode(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})),
		},
	}, nil
}

// inject sets the CA wherever cert-manager's injector would.
func (i *issuer) inject(d doc) {
	annotations, _ := at(d, "metadata", "annotations").(doc)
	if annotations[injectCA] == nil {
		return
	}
	delete(annotations, injectCA)
	if len(annotations) == 0 {
		delete(d["metadata"].(doc), "annotations")
	}
	set := func(config any) {
		if c, ok := config.(doc); ok {
			c["caBundle"] = base64.StdEncoding.EncodeToString(i.pem)
		}
	}
	hooks, _ := d["webhooks"].([]any)
	for _, h := range hooks {
		set(at(h, "clientConfig"))
	}
	set(at(d, "spec", "conversion", "webhook", "clientConfig"))
}

// pin names the images of the release instead of those of the main branch, which nothing pulls.
func pin(d doc) {
	containers, _ := at(d, "spec", "template", "spec", "containers").([]any)
	for _, c := range containers {
		container := c.(doc)
		image := text(container, "image")
		if name, ok := strings.CutPrefix(image, stagingRegistry); ok {
			name, _, _ = strings.Cut(name, ":")
			container["image"] = registry + name + ":" + capiVersion
		}
		container["imagePullPolicy"] = "IfNotPresent"
	}
}

// release makes a release's manifest of what kustomize made.
func release(all []doc) ([]doc, error) {
	ca, err := newIssuer()
	if err != nil {
		return nil, err
	}
	var out, last []doc
	for _, d := range all {
		switch d["kind"] {
		case "Issuer":
			continue
		case "Certificate":
			if d, err = ca.secret(d); err != nil {
				return nil, err
			}
		case "Deployment":
			pin(d)
			last = append(last, d)
			continue
		default:
			ca.inject(d)
		}
		out = append(out, d)
	}
	return append(out, last...), nil
}

func write(path string, all []doc) error {
	var b bytes.Buffer
	for _, d := range all {
		part, err := yaml.Marshal(d)
		if err != nil {
			return err
		}
		b.WriteString("---\n")
		b.Write(part)
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

func make1(raw, to string, c *component) (images []string, err error) {
	all, err := readAll(filepath.Join(raw, c.from))
	if err != nil {
		return nil, err
	}
	if all, err = release(all); err != nil {
		return nil, fmt.Errorf("%s: %w", c.from, err)
	}
	for _, d := range all {
		containers, _ := at(d, "spec", "template", "spec", "containers").([]any)
		for _, container := range containers {
			images = append(images, text(container, "image"))
		}
	}
	if to == "" {
		return images, nil
	}
	dir := filepath.Join(to, c.folder, c.version)
	if err = os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if c.metadata != "" {
		data, err := os.ReadFile(filepath.Join(raw, c.metadata))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "metadata.yaml"), data, 0o644)
		}
		if err != nil {
			return nil, err
		}
	}
	return images, write(filepath.Join(dir, c.file), all)
}

func run() error {
	images := flag.Bool("images", false, "print the images that the bundle names and make nothing")
	flag.Usage = func() {
		fmt.Fprint(os.Stderr, "usage: make-bundle DIR      makes the bundle in DIR, which must not exist\n"+
			"       make-bundle --images prints the images that its Deployments name\n")
	}
	flag.Parse()
	if *images != (flag.NArg() == 0) {
		flag.Usage()
		os.Exit(2)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, making := flag.Arg(0), ""
	if dir != "" {
		if _, err = os.Lstat(dir); err == nil {
			return fmt.Errorf("%s is there already", dir)
		}
		if making, err = os.MkdirTemp(filepath.Dir(dir), ".bundle-"); err != nil {
			return err
		}
		defer os.RemoveAll(making)
		if err = os.Chmod(making, 0o755); err != nil {
			return err
		}
	}
	var named []string
	for i := range components {
		more, err := make1(filepath.Join(filepath.Dir(self), "raw"), making, &components[i])
		if err != nil {
			return err
		}
		named = append(named, more...)
	}
	if *images {
		return json.NewEncoder(os.Stdout).Encode(map[string]any{"images": named})
	}
	return os.Rename(making, dir)
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("make-bundle: ")
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
