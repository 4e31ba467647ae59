// SPDX-License-Identifier: Apache-2.0

// render is Cluster API's own reading of what we write.
//
//	render userdata <FILE   {"spec": a KubeadmControlPlane's kubeadmConfigSpec, "version", "clusterName",
//	                        "endpoint": HOST:PORT, "podCIDR", "serviceCIDR", "serviceDomain", "keys":
//	                        {"/etc/kubernetes/pki/ca.crt": PEM, ...}, "ours": user data of a first node}
//	                        -> {"theirs": what the bootstrap provider makes of the first node, "ours"}: cloud-config
//	                        taken apart, with the documents of kubeadm.yaml
//	render variables <FILE  [{"text", "variables": {NAME: VALUE}}] -> [{"text"} or {"error"}], by clusterctl's processor
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"regexp"
	"strings"

	"github.com/blang/semver/v4"
	"sigs.k8s.io/yaml"

	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	"sigs.k8s.io/cluster-api/bootstrap/kubeadm/pkg/cloudinit"
	kubeadmtypes "sigs.k8s.io/cluster-api/bootstrap/kubeadm/pkg/types"
	"sigs.k8s.io/cluster-api/bootstrap/kubeadm/pkg/types/upstream"
	"sigs.k8s.io/cluster-api/cmd/clusterctl/client/yamlprocessor"
	"sigs.k8s.io/cluster-api/util/certs"
	"sigs.k8s.io/cluster-api/util/secret"
)

type request struct {
	Spec          bootstrapv1.KubeadmConfigSpec `json:"spec"`
	Version       string                        `json:"version"`
	ClusterName   string                        `json:"clusterName"`
	Endpoint      string                        `json:"endpoint"`
	PodCIDR       string                        `json:"podCIDR"`
	ServiceCIDR   string                        `json:"serviceCIDR"`
	ServiceDomain string                        `json:"serviceDomain"`
	Keys          map[string]string             `json:"keys"`
	Ours          string                        `json:"ours"`
}

// As the controller of KubeadmConfigs does for a cluster that is not initialized.
func theirs(r *request) ([]byte, error) {
	version, err := semver.ParseTolerant(r.Version)
	if err != nil {
		return nil, err
	}
	spec := &r.Spec
	if spec.ClusterConfiguration.ControlPlaneEndpoint == "" {
		spec.ClusterConfiguration.ControlPlaneEndpoint = r.Endpoint
	}
	initData, err := kubeadmtypes.MarshalInitConfigurationForVersion(&spec.InitConfiguration, version)
	if err != nil {
		return nil, err
	}
	clusterData, err := kubeadmtypes.MarshalClusterConfigurationForVersion(&spec.ClusterConfiguration, version,
		&upstream.AdditionalData{
			KubernetesVersion: &r.Version, ClusterName: &r.ClusterName, DNSDomain: &r.ServiceDomain,
			PodSubnet: &r.PodCIDR, ServiceSubnet: &r.ServiceCIDR,
		})
	if err != nil {
		return nil, err
	}
	certificates := secret.NewCertificatesForInitialControlPlane(&spec.ClusterConfiguration)
	for _, c := range certificates {
		c.KeyPair = &certs.KeyPair{Cert: []byte(r.Keys[c.CertFile]), Key: []byte(r.Keys[c.KeyFile])}
	}
	in := &cloudinit.ControlPlaneInput{
		BaseUserData: cloudinit.BaseUserData{
			AdditionalFiles: spec.Files, BootCommands: spec.BootCommands,
			PreKubeadmCommands: spec.PreKubeadmCommands, PostKubeadmCommands: spec.PostKubeadmCommands,
			Users: spec.Users, Mounts: spec.Mounts, KubernetesVersion: version,
		},
		InitConfiguration: initData, ClusterConfiguration: clusterData, Certificates: certificates,
	}
	if spec.NTP.IsDefined() {
		in.NTP = &spec.NTP
	}
	return cloudinit.NewInitControlPlane(in)
}

var separator = regexp.MustCompile(`(?m)^---\s*$`)

// A cloud-config as JSON; kubeadm.yaml in it as its documents by kind.
func apart(text []byte) (map[string]any, error) {
	out := map[string]any{}
	if err := yaml.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("%w in %.200s", err, text)
	}
	files, _ := out["write_files"].([]any)
	for _, f := range files {
		file, _ := f.(map[string]any)
		if file["path"] != "/run/kubeadm/kubeadm.yaml" {
			continue
		}
		kubeadm := map[string]any{}
		for _, part := range separator.Split(file["content"].(string), -1) {
			doc := map[string]any{}
			if err := yaml.Unmarshal([]byte(part), &doc); err != nil {
				return nil, err
			}
			if kind, ok := doc["kind"].(string); ok {
				kubeadm[kind] = doc
			}
		}
		out["kubeadm"] = kubeadm
		file["content"] = ""
	}
	return out, nil
}

func userData(in io.Reader) (any, error) {
	r := &request{}
	decoder := json.NewDecoder(in)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(r); err != nil {
		return nil, err
	}
	text, err := theirs(r)
	if err != nil {
		return nil, err
	}
	first, err := apart(text)
	if err != nil {
		return nil, err
	}
	second, err := apart([]byte(r.Ours))
	return map[string]any{"theirs": first, "ours": second}, err
}

func variables(in io.Reader) (any, error) {
	list := []struct {
		Text      string            `json:"text"`
		Variables map[string]string `json:"variables"`
	}{}
	if err := json.NewDecoder(in).Decode(&list); err != nil {
		return nil, err
	}
	out := []map[string]string{}
	for _, item := range list {
		text, err := yamlprocessor.NewSimpleProcessor().Process([]byte(item.Text), func(name string) (string, error) {
			value, found := item.Variables[name]
			if !found {
				return "", errors.New("not set")
			}
			return value, nil
		})
		if err != nil {
			out = append(out, map[string]string{"error": err.Error()})
		} else {
			out = append(out, map[string]string{"text": string(text)})
		}
	}
	return out, nil
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("render: ")
	work := map[string]func(io.Reader) (any, error){"userdata": userData, "variables": variables}
	if len(os.Args) != 2 || work[os.Args[1]] == nil {
		log.Fatal("usage: render userdata|variables <FILE")
	}
	out, err := work[os.Args[1]](os.Stdin)
	if err != nil {
		log.Fatal(strings.TrimSpace(err.Error()))
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		log.Fatal(err)
	}
}
