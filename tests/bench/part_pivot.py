# SPDX-License-Identifier: Apache-2.0
"""A hand-over and a take-back with real API servers, in one run, and what clusterctl needs for the same graph."""
import json
import os
import statistics
import subprocess
import threading
import time
from collections import Counter

import capi_graph
import gateway
import kube_rig
import table

RUNS, WORKERS = 5, 50
OURS, THEIRS = "pcg-gateway", "clusterctl"
CONTROLLERS = {"capi-system": "cluster-api", "capi-kubeadm-bootstrap-system": "bootstrap-kubeadm",
               "capi-kubeadm-control-plane-system": "control-plane-kubeadm", "capv-system": "infrastructure-vsphere"}
PROVIDERS = (("cluster-api", "CoreProvider", "capi-system", "v1.14.2"),
             ("kubeadm", "BootstrapProvider", "capi-kubeadm-bootstrap-system", "v1.14.2"),
             ("kubeadm", "ControlPlaneProvider", "capi-kubeadm-control-plane-system", "v1.14.2"),
             ("vsphere", "InfrastructureProvider", "capv-system", "v1.17.0"))
NODE = "c1-cp-bcdfg"  # of the plan of tests/capi/vsphere_plan.c
NODE_ID = "vsphere://42305f0b-dad7-1d3d-5727-0eafffffbbbf"
INVENTORY = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
             "metadata": {"name": "providers.clusterctl.cluster.x-k8s.io",
                          "labels": {"clusterctl.cluster.x-k8s.io": "", "clusterctl.cluster.x-k8s.io/core": "inventory"}},
             "spec": {"group": "clusterctl.cluster.x-k8s.io", "scope": "Namespaced",
                      "names": {"kind": "Provider", "listKind": "ProviderList", "plural": "providers",
                                "singular": "provider"},
                      "versions": [{"name": "v1alpha3", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                          "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}}


def deployment(ns, provider):
    labels = {"control-plane": provider}
    return {"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": provider, "namespace": ns, "labels": {"cluster.x-k8s.io/provider": provider}},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "manager", "image": "none"}]}}}}


def install(server, definitions):
    """What clusterctl and the gateway find where Cluster API is installed."""
    server.define(definitions)
    for ns, provider in CONTROLLERS.items():
        server.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ns}})
        server.call("POST", "/apis/apps/v1/namespaces/%s/deployments" % ns, deployment(ns, provider))
    for name, kind, ns, version in PROVIDERS:
        api = "clusterctl.cluster.x-k8s.io/v1alpha3"
        server.call("POST", "/apis/%s/namespaces/%s/providers" % (api, ns), {
            "apiVersion": api, "kind": "Provider", "metadata": {
                "name": name, "namespace": ns, "labels": {"clusterctl.cluster.x-k8s.io": "",
                                                          "clusterctl.cluster.x-k8s.io/core": "inventory"}},
            "providerName": name, "type": kind, "version": version})


class Pause(threading.Thread):
    """The controllers' part in a take-back: a Cluster that is paused reports it at once. They themselves are not here."""

    def __init__(self, server, graph):
        super().__init__(daemon=True)
        self.server, self.graph = server, graph

    def run(self):
        url = capi_graph.collection(capi_graph.CAPI, "Cluster", self.graph.ns)
        try:
            for line in self.server.watch(url):
                cluster = json.loads(line)["object"]
                paused = bool(cluster.get("spec", {}).get("paused"))
                says = [c["status"] for c in cluster.get("status", {}).get("conditions", []) if c["type"] == "Paused"]
                if says and says[0] != str(paused):
                    self.server.patch(self.graph.cluster_path + "/status", {"status": self.graph.cluster_status(paused)})
        except (OSError, ValueError, KeyError, kube_rig.Refused):
            return  # the server has ended, or the take-back will say that nobody observes


def drive(args, rig, server, *argv):
    done = subprocess.run([os.path.join(args.build, "tests", "bench", "drive_capi"), argv[0], server.url,
                           rig.at("ca.pem"), rig.at("ca.key")] + list(argv[1:]), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300, check=False)
    if done.returncode:
        raise gateway.Failed("%s: %s" % (argv[0], done.stderr.decode()[-800:] or "ended with %d" % done.returncode))
    return json.loads(done.stdout)


def kinds_of(calls):
    """What was called, without names."""
    out = Counter()
    for verb, uri in calls:
        path = uri.split("?")[0].strip("/").split("/")
        what = path[path.index("namespaces") + 2:] if "namespaces" in path and len(path) > 4 else path[-1:]
        out["%s %s" % (verb, "/".join([what[0]] + what[2:]) if what else uri)] += 1
    return ", ".join("%d %s" % (n, what) for what, n in out.most_common(14))


def steps(all_ms):
    return ", ".join("%s %.0f" % (step, statistics.median(ms[step] for ms in all_ms))
                     for step in all_ms[0] if step != "all")


# ---- hand-over ----

def clean(server):
    """Whatever the hand-over wrote."""
    for api, kind in ((capi_graph.CAPI, "Cluster"), (capi_graph.CONTROL_PLANE, "KubeadmControlPlane"),
                      (capi_graph.CAPI, "MachineDeployment"), (capi_graph.CAPI, "Machine"),
                      (capi_graph.BOOTSTRAP, "KubeadmConfig"), (capi_graph.BOOTSTRAP, "KubeadmConfigTemplate"),
                      (capi_graph.INFRA, "VSphereCluster"), (capi_graph.INFRA, "VSphereMachine"),
                      (capi_graph.INFRA, "VSphereVM"), (capi_graph.INFRA, "VSphereMachineTemplate"), ("v1", "Secret"),
                      ("v1", "ConfigMap")):
        path = capi_graph.collection(api, kind, "default")
        for o in server.call("GET", path)["items"]:
            if o["metadata"]["name"] == "kube-root-ca.crt":
                continue
            one = path + "/" + o["metadata"]["name"]
            if o["metadata"].get("finalizers"):
                server.patch(one, {"metadata": {"finalizers": None}})
            try:
                server.call("DELETE", one)
            except kube_rig.Refused as e:
                if e.status != 404:
                    raise
        gateway.wait_for("the end of " + path, lambda p=path: not [
            o for o in server.call("GET", p)["items"] if o["metadata"]["name"] != "kube-root-ca.crt"], 30)


def ready_for_hand_over(server):
    server.call("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE},
                                          "spec": {"providerID": NODE_ID}})
    server.patch("/api/v1/nodes/%s/status" % NODE, {"status": {"conditions": [
        {"type": "Ready", "status": "True", "reason": "ok", "message": "ok"}]}})
    server.patch("/api/v1/nodes/" + NODE, {"spec": {"taints": None}})
    for ns, provider in CONTROLLERS.items():
        server.patch("/apis/apps/v1/namespaces/%s/deployments/%s/status" % (ns, provider), {"status": {
            "observedGeneration": 1, "conditions": [{"type": "Available", "status": "True", "reason": "ok"}]}})


def hand_over(args, rig, server, result):
    ready_for_hand_over(server)
    times, calls = [], []
    for _ in range(RUNS):
        mark = server.mark()
        got = drive(args, rig, server, "pivot", str(WORKERS))
        times.append(got["ms"])
        calls = server.calls(mark, OURS)
        clean(server)
    result.figure("pivot_ms", statistics.median(ms["all"] for ms in times))
    result.figure("pivot_calls", len(calls))
    result.note("hand-over of %d objects, median of %d: %s ms" % (got["objects"], RUNS, steps(times)))
    result.note("its calls: " + kinds_of(calls))


# ---- take-back ----

def run_again(server, graph):
    """As it was before the take-back."""
    server.patch(graph.cluster_path, {"spec": {"paused": None}, "metadata": {"annotations": {
        "pcg.dev/authority": "cluster"}}})
    for ns, provider in CONTROLLERS.items():
        server.patch("/apis/apps/v1/namespaces/%s/deployments/%s" % (ns, provider), {"spec": {"replicas": 1}})
    wait_controllers(server)
    gateway.wait_for("the cluster to be seen unpaused", lambda: any(
        c["type"] == "Paused" and c["status"] == "False"
        for c in server.call("GET", graph.cluster_path)["status"]["conditions"]))


def wait_controllers(server):
    for ns, provider in CONTROLLERS.items():
        path = "/apis/apps/v1/namespaces/%s/deployments/%s" % (ns, provider)
        gateway.wait_for(path, lambda p=path: server.call("GET", p).get("status", {}).get("replicas") == 1, 60)


def take_back(args, rig, server, graph, result):
    times, calls = [], []
    Pause(server, graph).start()
    wait_controllers(server)
    for _ in range(RUNS):
        mark = server.mark()
        got = drive(args, rig, server, "take-back", graph.ns, graph.name)
        times.append(got["ms"])
        calls = server.calls(mark, OURS)
        if got["kinds"] != graph.kinds or got["machines"] != capi_graph.MACHINES:
            raise gateway.Failed("read %s with %d machines, there are %s" % (got["kinds"], got["machines"], graph.kinds))
        run_again(server, graph)
    result.figure("pivotback350_calls", len(calls))
    result.note("take-back, median of %d: %s ms; %d objects of %d read, the Secrets are not" % (
        RUNS, steps(times), sum(graph.kinds.values()), graph.all))
    result.note("its calls: " + kinds_of(calls))
    return statistics.median(ms["all"] for ms in times)


def clusterctl(rig, source, target, graph, result):
    marks = source.mark(), target.mark()
    config = rig.at("clusterctl.yaml")
    gateway.write(config, "providers: []\n")
    with open(rig.at("clusterctl.log"), "wb") as log:
        begin = time.monotonic()
        done = subprocess.run([rig.peers["clusterctl"], "move", "--config", config, "--namespace", graph.ns,
                               "--kubeconfig", source.kubeconfig(THEIRS), "--to-kubeconfig",
                               target.kubeconfig(THEIRS)], stdout=log, stderr=log, timeout=900, check=False,
                              env=dict(os.environ, CLUSTERCTL_DISABLE_VERSIONCHECK="true", HOME=rig.work))
        took = (time.monotonic() - begin) * 1000
    if done.returncode:
        raise gateway.Failed("clusterctl move: %s" % gateway.read(rig.at("clusterctl.log"))[-1500:])
    machines = capi_graph.collection(capi_graph.CAPI, "Machine", graph.ns)
    moved = len(target.call("GET", machines)["items"])
    if moved != capi_graph.MACHINES or source.call("GET", machines)["items"]:
        raise gateway.Failed("clusterctl moved %d of %d Machines" % (moved, capi_graph.MACHINES))
    calls = source.calls(marks[0], THEIRS) + target.calls(marks[1], THEIRS)
    result.figure("clusterctl350_calls", len(calls))
    result.note("clusterctl move: %.0f ms; its calls: %s" % (took, kinds_of(calls)))
    return took


def run(args, work):
    if not os.access(os.path.join(args.build, "tests", "bench", "drive_capi"), os.X_OK):
        raise gateway.Missing("tests/bench/drive_capi is not built")
    result = table.Result()
    with kube_rig.Rig(args, work, "clusterctl") as rig:
        definitions = rig.definitions() + [INVENTORY]
        source, target = rig.servers("source", "target")
        for server in (source, target):
            install(server, definitions)
        source.manager("garbage-collector-controller,deployment-controller,replicaset-controller")
        target.manager("garbage-collector-controller")
        hand_over(args, rig, target, result)
        graph = capi_graph.Graph(source, "bench", "b1")
        graph.make()
        ours = take_back(args, rig, source, graph, result)
        theirs = clusterctl(rig, source, target, graph, result)
        result.figure("pivotback350_vs_clusterctl_ratio", theirs / ours)
        result.note("graph of %d objects; take-back %.0f ms, clusterctl move %.0f ms" % (graph.all, ours, theirs))
        result.note("load average %.1f %.1f %.1f on %d processors" % (os.getloadavg() + (os.cpu_count(),)))
    return result
