# SPDX-License-Identifier: Apache-2.0
"""The graph of a cluster of vSphere with 3 control-plane machines and 50 workers in ten pools, each of which was
upgraded once: what a management cluster holds of it after some time, ready for `clusterctl move`."""
import base64

CAPI = "cluster.x-k8s.io/v1beta2"
BOOTSTRAP = "bootstrap.cluster.x-k8s.io/v1beta2"
CONTROL_PLANE = "controlplane.cluster.x-k8s.io/v1beta2"
INFRA_GROUP = "infrastructure.cluster.x-k8s.io"
INFRA = INFRA_GROUP + "/v1beta2"
CONTROL_PLANES, POOLS, WORKERS_OF_POOL = 3, 10, 5
VERSION, OLD_VERSION = "v1.36.3", "v1.35.4"
MACHINES = CONTROL_PLANES + POOLS * WORKERS_OF_POOL
NOW = "2026-01-01T00:00:00Z"
# Of the size that cloud-init's user data of a joining machine has.
USER_DATA = base64.b64encode(b"## template: jinja\n#cloud-config\n" + b"# what a machine is told\n" * 400).decode()


def condition(kind, status="True", reason="Ready"):
    return {"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": NOW}


def plural(kind):
    return kind.lower() + "s"


def collection(api, kind, ns):
    return "/%s/%s/namespaces/%s/%s" % ("apis" if "/" in api else "api", api, ns, plural(kind))


def clone_spec():
    return {"server": "vc.example:443", "thumbprint": "AA:BB", "datacenter": "DC0", "folder": "/DC0/vm/c1",
            "datastore": "LocalDS_0", "resourcePool": "/DC0/host/DC0_C0/Resources", "template": "/DC0/vm/t",
            "cloneMode": "fullClone", "powerOffMode": "hard", "numCPUs": 4, "memoryMiB": 8192, "diskGiB": 40,
            "customVMXKeys": {"pcg.cluster": "0123456789abcdef01234567"},
            "network": {"devices": [{"networkName": "DC0_DVPG0", "dhcp4": True}]}}


def infra_ref(kind, name):
    return {"apiGroup": INFRA_GROUP, "kind": kind, "name": name}


def config_ref(kind, name):
    return {"apiGroup": "bootstrap.cluster.x-k8s.io", "kind": kind, "name": name}


REGISTRATION = {"name": "{{ local_hostname }}",
                "kubeletExtraArgs": [{"name": "cloud-provider", "value": "external"}]}


class Graph:
    """make() writes it; kinds counts what a take-back has to read, all says how many objects there are."""

    def __init__(self, server, ns, name):
        self.server, self.ns, self.name = server, ns, name
        self.uids, self.kinds, self.all = {}, {}, 0
        self.cluster_path = collection(CAPI, "Cluster", ns) + "/" + name

    def one(self, api, kind, name, spec=None, status=None, owner=None, labels=None, annotations=None, **more):
        """A callable that creates it, with its status. owner: (api, kind, name, controller)."""
        def go():
            meta = {"name": name, "namespace": self.ns,
                    "labels": dict({"cluster.x-k8s.io/cluster-name": self.name}, **(labels or {}))}
            if annotations:
                meta["annotations"] = annotations
            if owner:
                ref = {"apiVersion": owner[0], "kind": owner[1], "name": owner[2], "uid": self.uids[owner[1:3]]}
                if owner[3]:
                    ref.update(controller=True, blockOwnerDeletion=True)
                meta["ownerReferences"] = [ref]
            o = dict({"apiVersion": api, "kind": kind, "metadata": meta}, **more)
            if spec is not None:
                o["spec"] = spec
            path = collection(api, kind, self.ns)
            made = self.server.call("POST", path + "?fieldValidation=Strict", o)
            self.uids[kind, name] = made["metadata"]["uid"]
            if status:
                self.server.patch("%s/%s/status" % (path, name), {"status": status})
        self.all += 1
        if kind != "Secret":
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
        return go

    def secret(self, name, owner, data):
        return self.one("v1", "Secret", name, owner=owner, type="cluster.x-k8s.io/secret",
                        data={key: USER_DATA if key == "value" else base64.b64encode(value.encode()).decode()
                              for key, value in data.items()})

    def cluster_status(self, paused):
        return {"initialization": {"infrastructureProvisioned": True, "controlPlaneInitialized": True},
                "phase": "Provisioned", "conditions": [
                    condition("Available"), condition("ControlPlaneInitialized"), condition("ControlPlaneAvailable"),
                    condition("Paused", "True" if paused else "False", "Paused" if paused else "NotPaused")]}

    def of_cluster(self):
        cluster, name = (CAPI, "Cluster", self.name, False), self.name
        work = [
            self.one(INFRA, "VSphereCluster", name, {
                "server": "vc.example:443", "thumbprint": "AA:BB", "identityRef": {"kind": "Secret", "name": name},
                "controlPlaneEndpoint": {"host": "10.0.0.5", "port": 6443}},
                {"initialization": {"provisioned": True}, "conditions": [condition("Ready")]}, cluster),
            self.one(CONTROL_PLANE, "KubeadmControlPlane", name + "-cp", {
                "replicas": CONTROL_PLANES, "version": VERSION,
                "kubeadmConfigSpec": {"initConfiguration": {"nodeRegistration": REGISTRATION},
                                      "joinConfiguration": {"nodeRegistration": REGISTRATION}},
                "machineTemplate": {"spec": {"infrastructureRef": infra_ref("VSphereMachineTemplate", name + "-cp")}}},
                {"initialization": {"controlPlaneInitialized": True}, "replicas": CONTROL_PLANES, "version": VERSION,
                 "conditions": [condition("Available"), condition("Initialized")]},
                (CAPI, "Cluster", name, True))]
        for template in ["cp"] + ["md-%d-%s" % (p, v) for p in range(POOLS) for v in ("old", "new")]:
            work.append(self.one(INFRA, "VSphereMachineTemplate", "%s-%s" % (name, template),
                                 {"template": {"spec": clone_spec()}}, None, cluster))
        for p in range(POOLS):
            pool = "%s-md-%d" % (name, p)
            work.append(self.one(BOOTSTRAP, "KubeadmConfigTemplate", pool, {"template": {"spec": {
                "joinConfiguration": {"nodeRegistration": REGISTRATION}}}}, None, cluster))
            work.append(self.one(CAPI, "MachineDeployment", pool, dict(
                self.machines_of(pool, VERSION, "new"), replicas=WORKERS_OF_POOL),
                {"replicas": WORKERS_OF_POOL, "phase": "Running", "conditions": [condition("Available")]}, cluster))
        return work

    def machines_of(self, pool, version, template):
        return {"clusterName": self.name, "selector": {"matchLabels": {"cluster.x-k8s.io/deployment-name": pool}},
                "template": {"metadata": {"labels": {"cluster.x-k8s.io/deployment-name": pool}}, "spec": {
                    "clusterName": self.name, "version": version,
                    "bootstrap": {"configRef": config_ref("KubeadmConfigTemplate", pool)},
                    "infrastructureRef": infra_ref("VSphereMachineTemplate", "%s-%s" % (pool, template))}}}

    def of_pools(self):
        cp = (CONTROL_PLANE, "KubeadmControlPlane", self.name + "-cp", True)
        work = [self.secret("%s-%s" % (self.name, pair), cp, {"tls.crt": "certificate", "tls.key": "key"})
                for pair in ("ca", "etcd", "proxy", "sa")]
        work.append(self.secret(self.name + "-kubeconfig", cp, {"value": ""}))
        work.append(self.secret(self.name, (INFRA, "VSphereCluster", self.name, False),
                                {"username": "u", "password": "p"}))
        for p in range(POOLS):
            pool = "%s-md-%d" % (self.name, p)
            for version, template, replicas in ((OLD_VERSION, "old", 0), (VERSION, "new", WORKERS_OF_POOL)):
                work.append(self.one(CAPI, "MachineSet", "%s-%s" % (pool, template), dict(
                    self.machines_of(pool, version, template), replicas=replicas), {"replicas": replicas},
                    (CAPI, "MachineDeployment", pool, True), {"cluster.x-k8s.io/deployment-name": pool}))
        return work

    def machines(self):
        for i in range(CONTROL_PLANES):
            yield ("%s-cp-%d" % (self.name, i), i, (CONTROL_PLANE, "KubeadmControlPlane", self.name + "-cp", True),
                   {"cluster.x-k8s.io/control-plane": "", "cluster.x-k8s.io/control-plane-name": self.name + "-cp"})
        for i in range(POOLS * WORKERS_OF_POOL):
            pool = "%s-md-%d" % (self.name, i // WORKERS_OF_POOL)
            yield ("%s-new-%d" % (pool, i), CONTROL_PLANES + i, (CAPI, "MachineSet", pool + "-new", True),
                   {"cluster.x-k8s.io/deployment-name": pool, "cluster.x-k8s.io/set-name": pool + "-new"})

    def of_machines(self):
        """In three rounds: what a machine owns comes after it."""
        rounds = [[], [], []]
        for name, n, owner, labels in self.machines():
            identifier = "42305f0b-dad7-1d3d-5727-%012x" % n
            address = "10.0.%d.%d" % (1 + n // 200, 1 + n % 200)
            addresses = [{"type": "InternalIP", "address": address}]
            provider = "vsphere://" + identifier
            machine = (CAPI, "Machine", name, True)
            rounds[0].append(self.one(CAPI, "Machine", name, {
                "clusterName": self.name, "version": VERSION, "providerID": provider,
                "bootstrap": {"configRef": config_ref("KubeadmConfig", name), "dataSecretName": name},
                "infrastructureRef": infra_ref("VSphereMachine", name)},
                {"nodeRef": {"name": name}, "phase": "Running", "addresses": addresses,
                 "initialization": {"infrastructureProvisioned": True, "bootstrapDataSecretCreated": True},
                 "conditions": [condition("Available"), condition("Ready")]}, owner, labels,
                annotations={} if n >= CONTROL_PLANES else {"pcg.dev/pool": "control"}))
            rounds[1].append(self.one(BOOTSTRAP, "KubeadmConfig", name,
                                      {"joinConfiguration": {"nodeRegistration": REGISTRATION}},
                                      {"initialization": {"dataSecretCreated": True}, "dataSecretName": name,
                                       "conditions": [condition("Ready")]}, machine, labels))
            rounds[1].append(self.one(INFRA, "VSphereMachine", name, dict(clone_spec(), providerID=provider),
                                      {"initialization": {"provisioned": True}, "addresses": addresses,
                                       "conditions": [condition("Ready")]}, machine, labels))
            rounds[2].append(self.secret(name, (BOOTSTRAP, "KubeadmConfig", name, True),
                                         {"value": "", "format": "cloud-config"}))
            rounds[2].append(self.one(INFRA, "VSphereVM", name, dict(clone_spec(), biosUUID=identifier,
                                                                     bootstrapRef={"name": name}),
                                      {"ready": True, "addresses": [address], "conditions": [condition("Ready")]},
                                      (INFRA, "VSphereMachine", name, False), labels))
        return rounds

    def make(self):
        self.server.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace",
                                                        "metadata": {"name": self.ns}})
        self.server.many([self.one(CAPI, "Cluster", self.name, {
            "controlPlaneEndpoint": {"host": "10.0.0.5", "port": 6443},
            "clusterNetwork": {"pods": {"cidrBlocks": ["192.168.0.0/16"]}},
            "controlPlaneRef": {"apiGroup": "controlplane.cluster.x-k8s.io", "kind": "KubeadmControlPlane",
                                "name": self.name + "-cp"},
            "infrastructureRef": infra_ref("VSphereCluster", self.name)}, self.cluster_status(False),
            annotations={"pcg.dev/authority": "cluster", "pcg.dev/epoch": "2", "pcg.dev/gateway-uid": "gw-1"})])
        self.server.many(self.of_cluster())
        self.server.many(self.of_pools())
        for work in self.of_machines():
            self.server.many(work)
