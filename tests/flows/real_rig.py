# SPDX-License-Identifier: Apache-2.0
"""All programs against govmomi's simulator whose machines boot for real: vsphere_rig's clients in a world of
tests/peers/node. The test calls world_rig.enter() first."""
import json
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "peers", "node"))
import world_rig  # noqa: E402
from vsphere_rig import Rig  # noqa: E402

PEERS = ("vmread", "vmctl", "flannel", "bundle")
PROXY = "http://10.77.0.1:3128"     # nothing listens: what needs it fails
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB one"
NTP = "192.0.2.123"
OS_VALUES = """\
kubeadmconfig:
  preKubeadmCommands:
  - echo before >>/var/log/profile-commands
  postKubeadmCommands:
  - echo after >>/var/log/profile-commands
  files:
  - targetPath: /etc/profile-file.conf
    targetOwner: root:root
    targetPermissions: "0640"
    content: |
      of = "the profile"
"""


class Disk:
    """What a machine wrote to its own disk, read from outside."""

    def __init__(self, node):
        self.root = os.path.join(node["folder"], "disk", "upper")

    def read(self, path):
        try:
            with open(self.root + path, errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def below(self, folder):
        """All files below a folder of it in one text."""
        return "\n".join(self.read(os.path.join(base, name)[len(self.root):])
                         for base, _, names in os.walk(self.root + folder) for name in sorted(names))

    def lacks(self, rig):
        """What every machine of a cluster has and this one has not, one line each."""
        units = self.read("/etc/systemd/system/containerd.service.d/http-proxy.conf")
        environment = self.read("/etc/environment")
        commands = self.read("/var/log/profile-commands")
        there = {
            "proxy of the node": f'HTTPS_PROXY="{PROXY}"' in environment,
            "addresses without proxy": "10.77.0.0/16" in environment and "192.168.0.0/16" in environment,
            "proxy of containerd": f'HTTPS_PROXY={PROXY}"' in units,
            "certificate of the tenant": rig.tenant_ca.strip() in self.below("/usr/local/share/ca-certificates"),
            "file of the profile": self.read("/etc/profile-file.conf") == 'of = "the profile"\n',
            "commands of the profile, once": commands == "before\nafter\n",
            "SSH key": SSH_KEY in self.below("/home") + self.below("/root"),
            "NTP server": NTP in self.below("/etc/chrony") + self.below("/etc/systemd") + self.below("/etc/ntp"),
            "command of the provider id": "uuid" in self.read("/etc/pcg/provider-id.sh"),
        }
        return [what for what, ok in there.items() if not ok]


class RealRig(Rig):
    """A Rig whose infrastructure is a world's."""

    release_s = 5

    def __init__(self, build, world):
        self.world = world
        super().__init__(build, {"vcsim": world_rig.peer("vcsim"), "vmread": world_rig.peer("vmread")})
        shutil.rmtree(self.path("bundle"))
        subprocess.run([world_rig.peer("bundle"), self.path("bundle")], check=True)

    def certificates(self):
        for name in ("ca.pem", "ca.key", "server.pem", "server.key"):
            shutil.copy(self.world.path(name), self.path(name))
        shutil.copy(self.world.path("password"), self.path("password"))
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                     "-subj", "/CN=tenant", "-keyout", "tenant.key", "-out", "tenant.pem")
        self.tenant_ca = self.read("tenant.pem")

    def start_infrastructure(self, *vcsim_args):
        self.world.start_nodes()
        self.world.start_vcsim(*vcsim_args)
        self.vcsim = self.world.vcsim

    def settings(self):
        return super().settings() + f'\nproxy = {{ https = "{PROXY}"; http = "{PROXY}"; no_proxy = "10.77.0.0/16,127.0.0.1"; }};'

    # The plane.

    def prepare(self):
        """What clusters are asked for with."""
        tenant = self.api("GET", "/v1/users/info")["tenantUid"]
        self.api("POST", f"/v1/tenants/{tenant}/assets/certs", {
            "metadata": {"name": "corporate"}, "spec": {"certificate": self.tenant_ca, "isCA": True}})
        self.profile, self.account = self.add_profile(), self.add_account()

    def add_profile(self):
        with open(os.path.join(os.path.dirname(world_rig.peer("flannel")), "kube-flannel.yml")) as file:
            flannel = file.read()
        uid = self.api("POST", "/v1/clusterprofiles", {
            "metadata": {"name": "base"},
            "spec": {"version": "1.0.0", "template": {"cloudType": "vsphere", "type": "cluster", "packs": [
                {"name": "kubernetes", "tag": "1.36.3", "type": "spectro", "layer": "k8s", "values": OS_VALUES},
                {"name": "flannel", "type": "manifest", "layer": "cni",
                 "manifests": [{"name": "flannel", "content": flannel}]}]}}})["uid"]
        self.api("PATCH", f"/v1/clusterprofiles/{uid}/publish")
        return uid

    def body(self, name, control_planes, workers, number):
        body = self.cluster_body(name, self.account, self.profile, number)
        spec = body["spec"]
        spec["cloudConfig"].update(sshKeys=[SSH_KEY], ntpServers=[NTP])
        spec["cloudConfig"]["controlPlaneEndpoint"]["host"] = f"10.77.2.{number}"
        pool = spec["machinepoolconfig"][0]
        pool["poolConfig"]["size"] = control_planes
        if workers:
            spec["machinepoolconfig"].append({
                "cloudConfig": pool["cloudConfig"], "poolConfig": {"name": "workers", "size": workers}})
        return body

    def pools_path(self):
        return f"/v1/overlords/vsphere/{self.overlord}/pools"

    def add_pool(self, name, start, end):
        """An IP pool in the machines' network; its uid."""
        return self.api("POST", self.pools_path(), {"metadata": {"name": name}, "spec": {"pool": {
            "start": start, "end": end, "prefix": 16, "gateway": world_rig.GATEWAY,
            "nameserver": {"addresses": ["10.77.0.253"], "search": ["lab.test"]}}}})["uid"]

    def in_pool(self, body, pool):
        """Endpoint and machines of the cluster are to have addresses of it."""
        body["spec"]["cloudConfig"]["controlPlaneEndpoint"] = {}
        for machines in body["spec"]["machinepoolconfig"]:
            for placement in machines["cloudConfig"]["placements"]:
                placement["network"].update(staticIp=True, parentPoolUid=pool)
        return body

    def history(self, name):
        return self.pcgctl("cluster", "history", name).stdout

    def write_private(self, name, text):
        self.write(name, text)
        return self.path(name)

    # The world.

    def node_of(self, name):
        """The machine that a VM's name belongs to."""
        machines, _ = self.machines()
        uuid = next((m["instanceUuid"] for m in machines if m["name"] == name), None)
        return uuid and self.world.node(uuid)

    def disk(self, name):
        return Disk(self.node_of(name))

    def cut_off(self, address, cut=True):
        """From here packets for an address go nowhere, without a word; machines reach it as before."""
        steps = ("link add cut type veth peer name cut-end", "link set cut up", "link set cut-end up",
                 f"route add {address}/32 dev cut src {world_rig.GATEWAY}",
                 f"neigh replace {address} lladdr 02:00:00:00:00:01 dev cut nud permanent") if cut else ("link del cut",)
        for step in steps:
            subprocess.run(["ip", *step.split()], check=True)

    def admin_config(self):
        """The administrator's, from the first machine's disk: read by nobody of ours."""
        for node in self.world.node_list():
            path = os.path.join(node["folder"], "disk", "upper", "etc", "kubernetes", "admin.conf")
            if os.path.exists(path):
                return path
        return None

    def stop(self):
        super().stop()
        self.world.stop()

    def show(self):
        """Why a cluster is not what it should be."""
        print(json.dumps(self.clusters(), indent=1)[:4000])
        print(self.read("pcgd.log")[-4000:])
        self.world.show_logs()
        config = self.admin_config()
        if config:
            for words in (("get", "nodes,pods", "-A", "-o", "wide"), ("get", "cluster,machine,kubeadmcontrolplane", "-A"),
                          ("get", "events", "-A", "--sort-by=.lastTimestamp")):
                print(self.world.kubectl(config, *words, check=False)[-6000:])
