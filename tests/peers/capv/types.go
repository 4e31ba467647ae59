// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ipamv1 "sigs.k8s.io/cluster-api/api/ipam/v1beta2"
)

// The kinds as far as the controllers touch them; the definitions come whole from the table (crds.go).
// What they only hand on stays as it came (raw).

const group = "infrastructure.cluster.x-k8s.io"

var groupVersion = schema.GroupVersion{Group: group, Version: "v1beta2"}

const (
	clusterFinalizer = "vspherecluster." + group
	machineFinalizer = "vspheremachine." + group
	vmFinalizer      = "vspherevm." + group
	zoneFinalizer    = "vspheredeploymentzone." + group
	secretFinalizer  = "vspherecluster/" + group

	claimFinalizer = "vspherevm." + group + "/ip-claim-protection"

	vCenterAvailable = "VCenterAvailable"
	claimsFulfilled  = "IPAddressClaimsFulfilled"
	vmProvisioned    = "VirtualMachineProvisioned"
	domainsReady     = "FailureDomainsReady"
	placementReady   = "PlacementConstraintReady"
	domainValidated  = "FailureDomainValidated"
	hostLabel        = "node.cluster.x-k8s.io/esxi-host"
)

// raw is a part of a document that is only handed on.
type raw struct{ json.RawMessage }

func (r raw) MarshalJSON() ([]byte, error) {
	if len(r.RawMessage) == 0 {
		return []byte("null"), nil
	}
	return r.RawMessage, nil
}

func (r *raw) UnmarshalJSON(data []byte) error {
	r.RawMessage = append(json.RawMessage(nil), data...)
	return nil
}

type networkDevice struct {
	NetworkName      string   `json:"networkName"`
	DeviceName       string   `json:"deviceName,omitempty"`
	DHCP4            *bool    `json:"dhcp4,omitempty"`
	DHCP6            *bool    `json:"dhcp6,omitempty"`
	DHCP4Overrides   *raw     `json:"dhcp4Overrides,omitempty"`
	DHCP6Overrides   *raw     `json:"dhcp6Overrides,omitempty"`
	Gateway4         string   `json:"gateway4,omitempty"`
	Gateway6         string   `json:"gateway6,omitempty"`
	IPAddrs          []string `json:"ipAddrs,omitempty"`
	MTU              *int64   `json:"mtu,omitempty"`
	MACAddr          string   `json:"macAddr,omitempty"`
	Nameservers      []string `json:"nameservers,omitempty"`
	Routes           []route  `json:"routes,omitempty"`
	SearchDomains    []string `json:"searchDomains,omitempty"`
	SkipIPAllocation *bool    `json:"skipIPAllocation,omitempty"`

	AddressesFromPools []ipamv1.IPPoolReference `json:"addressesFromPools,omitempty"`
}

type route struct {
	To     string `json:"to"`
	Via    string `json:"via"`
	Metric int32  `json:"metric"`
}

type networkSpec struct {
	Devices []networkDevice `json:"devices"`
	Routes  []route         `json:"routes,omitempty"`
}

type dataDisk struct {
	Name             string `json:"name"`
	SizeGiB          int32  `json:"sizeGiB"`
	ProvisioningMode string `json:"provisioningMode,omitempty"`
}

type quantities struct {
	CPU    *intstr.IntOrString `json:"cpu,omitempty"`
	Memory *intstr.IntOrString `json:"memory,omitempty"`
}

type shares struct {
	CPU    int32 `json:"cpu,omitempty"`
	Memory int32 `json:"memory,omitempty"`
}

type resources struct {
	Requests *quantities `json:"requests,omitempty"`
	Limits   *quantities `json:"limits,omitempty"`
	Shares   *shares     `json:"shares,omitempty"`
}

type CloneSpec struct {
	Template                       string            `json:"template"`
	CloneMode                      string            `json:"cloneMode,omitempty"`
	Snapshot                       string            `json:"snapshot,omitempty"`
	Server                         string            `json:"server,omitempty"`
	Thumbprint                     string            `json:"thumbprint,omitempty"`
	Datacenter                     string            `json:"datacenter,omitempty"`
	Folder                         string            `json:"folder,omitempty"`
	Datastore                      string            `json:"datastore,omitempty"`
	StoragePolicyName              string            `json:"storagePolicyName,omitempty"`
	ResourcePool                   string            `json:"resourcePool,omitempty"`
	Network                        networkSpec       `json:"network"`
	NumCPUs                        int32             `json:"numCPUs,omitempty"`
	NumCoresPerSocket              int32             `json:"numCoresPerSocket,omitempty"`
	MemoryMiB                      int64             `json:"memoryMiB,omitempty"`
	DiskGiB                        int32             `json:"diskGiB,omitempty"`
	AdditionalDisksGiB             []int32           `json:"additionalDisksGiB,omitempty"`
	CustomVMXKeys                  map[string]string `json:"customVMXKeys,omitempty"`
	TagIDs                         []string          `json:"tagIDs,omitempty"`
	PCIDevices                     []raw             `json:"pciDevices,omitempty"`
	OS                             string            `json:"os,omitempty"`
	HardwareVersion                string            `json:"hardwareVersion,omitempty"`
	DataDisks                      []dataDisk        `json:"dataDisks,omitempty"`
	Resources                      *resources        `json:"resources,omitempty"`
	NestedHV                       *bool             `json:"nestedHV,omitempty"`
	CryptoKeyID                    string            `json:"cryptoKeyID,omitempty"`
	CryptoProfile                  string            `json:"cryptoProfile,omitempty"`
	FTEncryptionMode               string            `json:"ftEncryptionMode,omitempty"`
	MigrateEncryption              string            `json:"migrateEncryption,omitempty"`
	PowerOffMode                   string            `json:"powerOffMode,omitempty"`
	GuestSoftPowerOffTimeoutSecond int32             `json:"guestSoftPowerOffTimeoutSeconds,omitempty"`
}

type endpoint struct {
	Host string `json:"host,omitempty"`
	Port int32  `json:"port,omitempty"`
}

type identityRef struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

type initialization struct {
	Provisioned *bool `json:"provisioned,omitempty"`
}

type nicStatus struct {
	Connected   *bool    `json:"connected,omitempty"`
	IPAddrs     []string `json:"ipAddrs,omitempty"`
	MACAddr     string   `json:"macAddr"`
	NetworkName string   `json:"networkName,omitempty"`
}

// failure is status.deprecated.v1beta1, where an object in an error state says so.
type failure struct {
	V1Beta1 *failureText `json:"v1beta1,omitempty"`
}

type failureText struct {
	Conditions     []raw  `json:"conditions,omitempty"`
	FailureReason  string `json:"failureReason,omitempty"`
	FailureMessage string `json:"failureMessage,omitempty"`
}

type vSphereCluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              vSphereClusterSpec   `json:"spec"`
	Status            vSphereClusterStatus `json:"status,omitempty"`
}

type vSphereClusterSpec struct {
	Server                string                `json:"server"`
	Thumbprint            string                `json:"thumbprint,omitempty"`
	ControlPlaneEndpoint  *endpoint             `json:"controlPlaneEndpoint,omitempty"`
	IdentityRef           *identityRef          `json:"identityRef,omitempty"`
	ClusterModules        []raw                 `json:"clusterModules,omitempty"`
	DisableClusterModule  *bool                 `json:"disableClusterModule,omitempty"`
	FailureDomainSelector *metav1.LabelSelector `json:"failureDomainSelector,omitempty"`
}

type vSphereClusterStatus struct {
	Conditions     []metav1.Condition        `json:"conditions,omitempty"`
	Initialization *initialization           `json:"initialization,omitempty"`
	FailureDomains []clusterv1.FailureDomain `json:"failureDomains,omitempty"`
	VCenterVersion string                    `json:"vCenterVersion,omitempty"`
	Deprecated     *raw                      `json:"deprecated,omitempty"`
}

type vSphereMachine struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              vSphereMachineSpec   `json:"spec"`
	Status            vSphereMachineStatus `json:"status,omitempty"`
}

type vSphereMachineSpec struct {
	CloneSpec  `json:",inline"`
	ProviderID string `json:"providerID,omitempty"`
	Naming     *struct {
		Template string `json:"template,omitempty"`
	} `json:"naming,omitempty"`
}

type vSphereMachineStatus struct {
	Conditions     []metav1.Condition         `json:"conditions,omitempty"`
	Initialization *initialization            `json:"initialization,omitempty"`
	Addresses      []clusterv1.MachineAddress `json:"addresses,omitempty"`
	Network        []nicStatus                `json:"network,omitempty"`
	Deprecated     *failure                   `json:"deprecated,omitempty"`
}

type vSphereVM struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              vSphereVMSpec   `json:"spec"`
	Status            vSphereVMStatus `json:"status,omitempty"`
}

type vSphereVMSpec struct {
	CloneSpec    `json:",inline"`
	BiosUUID     string                       `json:"biosUUID,omitempty"`
	BootstrapRef *corev1.LocalObjectReference `json:"bootstrapRef,omitempty"`
}

type vSphereVMStatus struct {
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	Ready      *bool              `json:"ready,omitempty"`
	Addresses  []string           `json:"addresses,omitempty"`
	Network    []nicStatus        `json:"network,omitempty"`
	VMRef      string             `json:"vmRef,omitempty"`
	Host       string             `json:"host,omitempty"`
	TaskRef    string             `json:"taskRef,omitempty"`
	RetryAfter *metav1.Time       `json:"retryAfter,omitempty"`
	Snapshot   string             `json:"snapshot,omitempty"`
	CloneMode  string             `json:"cloneMode,omitempty"`
	ModuleUUID *string            `json:"moduleUUID,omitempty"`
	Deprecated *failure           `json:"deprecated,omitempty"`
}

type vSphereClusterIdentity struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              struct {
		SecretName        string `json:"secretName"`
		AllowedNamespaces *struct {
			Selector metav1.LabelSelector `json:"selector,omitempty"`
		} `json:"allowedNamespaces,omitempty"`
	} `json:"spec"`
	Status struct {
		Conditions []metav1.Condition `json:"conditions,omitempty"`
		Ready      *bool              `json:"ready,omitempty"`
		Deprecated *raw               `json:"deprecated,omitempty"`
	} `json:"status,omitempty"`
}

// vSphereFailureDomain says where, vSphereDeploymentZone what that is for. Neither has a namespace.
type vSphereFailureDomain struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              struct {
		Region   domainTag `json:"region"`
		Zone     domainTag `json:"zone"`
		Topology struct {
			Datacenter            string   `json:"datacenter"`
			ComputeCluster        string   `json:"computeCluster,omitempty"`
			Hosts                 *raw     `json:"hosts,omitempty"`
			Networks              []string `json:"networks,omitempty"`
			NetworkConfigurations []raw    `json:"networkConfigurations,omitempty"`
			Datastore             string   `json:"datastore,omitempty"`
		} `json:"topology"`
	} `json:"spec"`
}

type domainTag struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	TagCategory string `json:"tagCategory"`
}

type vSphereDeploymentZone struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              struct {
		Server              string               `json:"server,omitempty"`
		FailureDomain       string               `json:"failureDomain"`
		ControlPlane        *bool                `json:"controlPlane,omitempty"`
		PlacementConstraint *placementConstraint `json:"placementConstraint,omitempty"`
	} `json:"spec"`
	Status struct {
		Conditions []metav1.Condition `json:"conditions,omitempty"`
		Ready      *bool              `json:"ready,omitempty"`
		Deprecated *raw               `json:"deprecated,omitempty"`
	} `json:"status,omitempty"`
}

type placementConstraint struct {
	ResourcePool string `json:"resourcePool,omitempty"`
	Folder       string `json:"folder,omitempty"`
}

func (c *vSphereCluster) GetConditions() []metav1.Condition         { return c.Status.Conditions }
func (c *vSphereCluster) SetConditions(l []metav1.Condition)        { c.Status.Conditions = l }
func (m *vSphereMachine) GetConditions() []metav1.Condition         { return m.Status.Conditions }
func (m *vSphereMachine) SetConditions(l []metav1.Condition)        { m.Status.Conditions = l }
func (v *vSphereVM) GetConditions() []metav1.Condition              { return v.Status.Conditions }
func (v *vSphereVM) SetConditions(l []metav1.Condition)             { v.Status.Conditions = l }
func (i *vSphereClusterIdentity) GetConditions() []metav1.Condition { return i.Status.Conditions }
func (i *vSphereClusterIdentity) SetConditions(l []metav1.Condition) {
	i.Status.Conditions = l
}

func (z *vSphereDeploymentZone) GetConditions() []metav1.Condition  { return z.Status.Conditions }
func (z *vSphereDeploymentZone) SetConditions(l []metav1.Condition) { z.Status.Conditions = l }

type vSphereFailureDomainList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []vSphereFailureDomain `json:"items"`
}

type vSphereDeploymentZoneList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []vSphereDeploymentZone `json:"items"`
}

type vSphereClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []vSphereCluster `json:"items"`
}

type vSphereMachineList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []vSphereMachine `json:"items"`
}

type vSphereVMList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []vSphereVM `json:"items"`
}

type vSphereClusterIdentityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []vSphereClusterIdentity `json:"items"`
}

// copied is a deep copy by way of JSON: few objects, and no generated code.
func copied[T any](in *T) *T {
	out := new(T)
	data, err := json.Marshal(in)
	if err == nil {
		err = json.Unmarshal(data, out)
	}
	if err != nil {
		panic(err)
	}
	return out
}

func (c *vSphereCluster) DeepCopyObject() runtime.Object             { return copied(c) }
func (m *vSphereMachine) DeepCopyObject() runtime.Object             { return copied(m) }
func (v *vSphereVM) DeepCopyObject() runtime.Object                  { return copied(v) }
func (i *vSphereClusterIdentity) DeepCopyObject() runtime.Object     { return copied(i) }
func (d *vSphereFailureDomain) DeepCopyObject() runtime.Object       { return copied(d) }
func (z *vSphereDeploymentZone) DeepCopyObject() runtime.Object      { return copied(z) }
func (l *vSphereFailureDomainList) DeepCopyObject() runtime.Object   { return copied(l) }
func (l *vSphereDeploymentZoneList) DeepCopyObject() runtime.Object  { return copied(l) }
func (l *vSphereClusterList) DeepCopyObject() runtime.Object         { return copied(l) }
func (l *vSphereMachineList) DeepCopyObject() runtime.Object         { return copied(l) }
func (l *vSphereVMList) DeepCopyObject() runtime.Object              { return copied(l) }
func (l *vSphereClusterIdentityList) DeepCopyObject() runtime.Object { return copied(l) }

// addTypes registers the kinds under the names that the API server knows them by.
func addTypes(s *runtime.Scheme) error {
	for kind, object := range map[string]runtime.Object{
		"VSphereCluster": &vSphereCluster{}, "VSphereClusterList": &vSphereClusterList{},
		"VSphereMachine": &vSphereMachine{}, "VSphereMachineList": &vSphereMachineList{},
		"VSphereVM": &vSphereVM{}, "VSphereVMList": &vSphereVMList{},
		"VSphereClusterIdentity":     &vSphereClusterIdentity{},
		"VSphereClusterIdentityList": &vSphereClusterIdentityList{},
		"VSphereFailureDomain":       &vSphereFailureDomain{},
		"VSphereFailureDomainList":   &vSphereFailureDomainList{},
		"VSphereDeploymentZone":      &vSphereDeploymentZone{},
		"VSphereDeploymentZoneList":  &vSphereDeploymentZoneList{},
	} {
		s.AddKnownTypeWithName(groupVersion.WithKind(kind), object)
	}
	metav1.AddToGroupVersion(s, groupVersion)
	return nil
}
