# SPDX-License-Identifier: Apache-2.0
"""real_rig's programs with light machines (real kubeadm, etcd, API server, controller manager and scheduler, no pods),
and the real controllers of Cluster API as processes beside them: for tests that kill at many points. The test calls
world_rig.enter(*PEERS, mode="light") first."""
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading

from real_rig import RealRig, world_rig

sys.path.insert(0, world_rig.PEERS)
from capv_world import API  # noqa: E402

MANAGERS = {
    "capi-system": ("capi-core", "capi-webhook-service"),
    "capi-kubeadm-bootstrap-system": ("capi-bootstrap", "capi-kubeadm-bootstrap-webhook-service"),
    "capi-kubeadm-control-plane-system": ("capi-controlplane", "capi-kubeadm-control-plane-webhook-service"),
    "capv-system": ("capv", "capv-webhook-service"),
    "capi-ipam-in-cluster-system": ("capv", "capi-ipam-in-cluster-webhook-service"),
}
PEERS = ("vmread", "vmctl", "flannel", "bundle", "yamlcheck", *dict(MANAGERS.values()))


class LightRig(RealRig):
    """Webhooks of the bundle are reached at URLs, where Managers runs them."""

    take_back_s = 120

    def __init__(self, build, world):
        super().__init__(build, world)
        self.ports = {service: 9700 + i for i, (_, service) in enumerate(MANAGERS.values())}
        self.args = {}
        for folder, _, names in os.walk(self.path("bundle")):
            for name in names:
                if name != "metadata.yaml":
                    self.reach_at_urls(os.path.join(folder, name))
        os.mkdir(self.path("hooks"))
        shutil.copy(self.path("server.pem"), self.path("hooks", "tls.crt"))
        shutil.copy(self.path("server.key"), self.path("hooks", "tls.key"))

    def admin_api(self, config, host):
        """A client with an administrator's kubeconfig, once its API has answered; None while the file is being written."""
        with open(config) as file:
            parts = re.findall("(certificate-authority|client-certificate|client-key)-data: *(\\S+)", file.read())
        if len(parts) != 3:
            return None
        for name, data in parts:
            with open(self.path(name), "wb", opener=lambda p, f: os.open(p, f, 0o600)) as file:
                file.write(base64.b64decode(data))
        api = API(6443, self.path("certificate-authority"), host=host,
                  pair=(self.path("client-certificate"), self.path("client-key")))
        api.call("GET", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kubeadm:cluster-admins")
        return api

    def reach_at_urls(self, path):
        done = subprocess.run([world_rig.peer("yamlcheck"), path], check=True, stdout=subprocess.PIPE)
        items = json.loads(done.stdout)["items"]
        for o in items:
            spec = o.get("spec", {})
            for config in [h["clientConfig"] for h in o.get("webhooks", [])] + [
                    spec.get("conversion", {}).get("webhook", {}).get("clientConfig")]:
                if config and "service" in config:
                    service = config.pop("service")
                    config["url"] = (f"https://{world_rig.GATEWAY}:{self.ports[service['name']]}"
                                     f"{service.get('path', '/convert')}")
                    config["caBundle"] = self.world.base64("ca.pem")
            if o["kind"] == "Deployment" and o["metadata"]["namespace"] in MANAGERS:
                self.args[o["metadata"]["namespace"]] = spec["template"]["spec"]["containers"][0]["args"]
        with open(path, "w") as file:
            file.write("".join(f"---\n{json.dumps(o)}\n" for o in items))

    def start_manager(self, namespace, config):
        program, service = MANAGERS[namespace]
        name, ipam = "manager-" + namespace.removesuffix("-system"), "ipam" in namespace
        args = [re.sub(r"\$\{\w+:?[=-]([^}]*)\}", r"\1", a) for a in self.args[namespace]]
        args = [a for a in args if not re.match(r"--(leader-elect|diagnostics|insecure|credentials)", a)]
        args += ["--kubeconfig=" + config, f"--webhook-port={self.ports[service]}",
                 "--webhook-cert-dir=" + self.path("hooks"),
                 f"--health-{'probe-bind-address' if ipam else 'addr'}=127.0.0.1:{self.ports[service] + 10}"]
        if program != "capv":
            args += [f"--diagnostics-address=127.0.0.1:{self.ports[service] + 20}", "--insecure-diagnostics=true"]
        self.spawn(name, ["env", "POD_NAMESPACE=" + namespace, "POD_NAME=" + program, "POD_UID=" + program,
                          world_rig.peer(program), *args])
        return name


class Managers(threading.Thread):
    """kubelet for the controllers of one cluster: as many processes as its Deployments have replicas."""

    def __init__(self, rig, config):
        super().__init__(daemon=True)
        self.rig, self.config, self.ended, self.names = rig, config, threading.Event(), {}
        self.start()

    def look(self):
        text = self.rig.world.kubectl(self.config, "get", "deployments", "-A", "-l", "cluster.x-k8s.io/provider", "-o", "json",
                                      check=False)
        if not text:
            return
        for o in json.loads(text)["items"]:
            namespace = o["metadata"]["namespace"]
            if o["spec"]["replicas"] and namespace not in self.names:
                self.names[namespace] = self.rig.start_manager(namespace, self.config)
            elif not o["spec"]["replicas"] and namespace in self.names:
                self.rig.end(self.names.pop(namespace))

    def run(self):
        while not self.ended.wait(0.3):
            self.look()

    def alive(self):
        """Names of managers that run; one that ended by itself is an error."""
        for name in list(self.names.values()):  # the thread changes it
            process = self.rig.running.get(name)
            if process and process.poll() is not None:
                raise world_rig.Failed(f"{name} ended with {process.returncode}: {self.rig.read(name + '.log')[-2000:]}")
        return sorted(self.names.values())

    def stop(self):
        self.ended.set()
        self.join(30)
        for name in self.names.values():
            self.rig.end(name)
        self.names.clear()
