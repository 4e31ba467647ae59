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


class RealRig(Rig):
    """A Rig whose infrastructure is a world's."""

    def __init__(self, build, world):
        self.world = world
        super().__init__(build, {"vcsim": world_rig.peer("vcsim"), "vmread": world_rig.peer("vmread")})
        shutil.rmtree(self.path("bundle"))
        subprocess.run([world_rig.peer("bundle"), self.path("bundle")], check=True)

    def certificates(self):
        for name in ("ca.pem", "ca.key", "server.pem", "server.key"):
            shutil.copy(self.world.path(name), self.path(name))
        shutil.copy(self.world.path("password"), self.path("password"))

    def start_infrastructure(self, *vcsim_args):
        self.world.start_nodes()
        self.world.start_vcsim(*vcsim_args)
        self.vcsim = self.world.vcsim

    def add_profile(self):
        with open(os.path.join(os.path.dirname(world_rig.peer("flannel")), "kube-flannel.yml")) as file:
            flannel = file.read()
        uid = self.api("POST", "/v1/clusterprofiles", {
            "metadata": {"name": "base"},
            "spec": {"version": "1.0.0", "template": {"cloudType": "vsphere", "type": "cluster", "packs": [
                {"name": "kubernetes", "tag": "1.36.3", "type": "spectro", "layer": "k8s", "values": ""},
                {"name": "flannel", "type": "manifest", "layer": "cni",
                 "manifests": [{"name": "flannel", "content": flannel}]}]}}})["uid"]
        self.api("PATCH", f"/v1/clusterprofiles/{uid}/publish")
        return uid

    def cluster_body(self, name, account, profile, number):
        body = super().cluster_body(name, account, profile, number)
        body["spec"]["cloudConfig"]["controlPlaneEndpoint"]["host"] = f"10.77.2.{number}"
        return body

    def history(self, name):
        return self.pcgctl("cluster", "history", name).stdout

    def kubeconfig(self, name):
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
        config = self.kubeconfig("")
        if config:
            for words in (("get", "nodes,pods", "-A", "-o", "wide"), ("get", "events", "-A", "--sort-by=.lastTimestamp")):
                print(self.world.kubectl(config, *words, check=False)[-6000:])
