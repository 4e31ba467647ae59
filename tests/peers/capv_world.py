# SPDX-License-Identifier: Apache-2.0
"""A real etcd, kube-apiserver, kube-controller-manager and the real controllers of Cluster API as processes on
loopback, with the stand-in of the vSphere controllers and vcsim; no nodes. The API server is its own workload
cluster. For tests that import this: enclose() first, then World."""

import base64
import contextlib
import functools
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
INFRA = "infrastructure.cluster.x-k8s.io"
USER = "administrator@vsphere.local"
MUTATING = re.compile(r"^(CloneVM|ReconfigVM|PowerO(n|ff)VM|Destroy_|ShutdownGuest|CreateVM)")
VERSION = "v1.36.3"


@functools.cache
def peer(name):
    done = subprocess.run([os.path.join(HERE, "build-peers"), name], stdout=subprocess.PIPE, check=False, text=True)
    if done.returncode:
        print(f"{name} cannot be built\n0 passed, 1 failed, 0 skipped")
        sys.exit(1)
    return done.stdout.strip()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


LIMIT = 180 # seconds, for what never comes, not for what is slow


def until(what, check, seconds=LIMIT):
    """Waits until check() is true and returns what it gave."""
    end = time.monotonic() + seconds
    last = None
    while True:
        try:
            value = check()
            if value:
                return value
            last = value
        except Refused as e:
            last = e
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}; last: {last}")
        time.sleep(0.2)


class Refused(Exception):
    def __init__(self, status, message):
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message


class API:
    """A client of the API server; one connection for each call, which is slow and simple."""

    def __init__(self, port, ca, token=None, host="127.0.0.1", pair=None):
        self.host, self.port = host, port
        self.headers = {"Authorization": "Bearer " + token} if token else {}
        self.context = ssl.create_default_context(cafile=ca)
        if pair:
            self.context.load_cert_chain(*pair)

    def connect(self, timeout=30):
        return http.client.HTTPSConnection(self.host, self.port, context=self.context, timeout=timeout)

    def call(self, method, path, body=None, kind="application/json"):
        conn = self.connect()
        try:
            conn.request(method, path, None if body is None else json.dumps(body), {**self.headers, "Content-Type": kind})
            reply = conn.getresponse()
            text = reply.read()
        except (OSError, http.client.HTTPException) as e:
            raise Refused(0, str(e)) from e
        finally:
            conn.close()
        try:
            doc = json.loads(text)
        except ValueError:
            doc = {"message": text.decode(errors="replace")}
        if reply.status >= 300:
            raise Refused(reply.status, doc.get("message", ""))
        return doc

    PLURALS = {"Ingress": "ingresses", "IPAddress": "ipaddresses", "MachineHealthCheck": "machinehealthchecks"}

    def path(self, api, kind, ns=None, name=None, sub=None):
        p = ("/api/" if "/" not in api else "/apis/") + api
        if ns:
            p += "/namespaces/" + ns
        low = kind.lower()
        p += "/" + (self.PLURALS.get(kind) or (low[:-1] + "ies" if low.endswith("y") else low + "s"))
        return p + (f"/{name}" if name else "") + (f"/{sub}" if sub else "")

    def create(self, o):
        meta = o["metadata"]
        return self.call("POST", self.path(o["apiVersion"], o["kind"], meta.get("namespace")) +
                         "?fieldValidation=Strict", o)

    def get(self, kind, ns, name, api=None):
        return self.call("GET", self.path(api or APIS[kind], kind, ns, name))

    def find(self, kind, ns, name):
        try:
            return self.get(kind, ns, name)
        except Refused as e:
            if e.status == 404:
                return None
            raise

    def items(self, kind, ns):
        return self.call("GET", self.path(APIS[kind], kind, ns))["items"]

    def patch(self, kind, ns, name, body, sub=None):
        return self.call("PATCH", self.path(APIS[kind], kind, ns, name, sub), body, "application/merge-patch+json")

    def delete(self, kind, ns, name):
        return self.call("DELETE", self.path(APIS[kind], kind, ns, name))


IPAM = "ipam.cluster.x-k8s.io"
APIS = {"IPAddressClaim": IPAM + "/v1beta2", "IPAddress": IPAM + "/v1beta2", "InClusterIPPool": IPAM + "/v1alpha2",
        "Secret": "v1", "Node": "v1", "Namespace": "v1", "ConfigMap": "v1"}
for k in "Cluster Machine MachineSet MachineDeployment".split():
    APIS[k] = "cluster.x-k8s.io/v1beta2"
for k in "KubeadmConfig KubeadmConfigTemplate".split():
    APIS[k] = "bootstrap.cluster.x-k8s.io/v1beta2"
APIS["KubeadmControlPlane"] = "controlplane.cluster.x-k8s.io/v1beta2"
for k in ("VSphereCluster VSphereMachine VSphereVM VSphereMachineTemplate VSphereClusterTemplate "
          "VSphereFailureDomain VSphereDeploymentZone VSphereClusterIdentity").split():
    APIS[k] = INFRA + "/v1beta2"


CLUSTER_SCOPED = ("VSphereFailureDomain", "VSphereDeploymentZone")


def openssl(*args, **kw):
    return subprocess.run(["openssl", *args], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **kw).stdout


class World:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="pcg-capv.")
        self.procs = {}
        self.tokens = {}
        self.booted = []
        self.stack = contextlib.ExitStack()
        self.graphs = []
        self.ports = {}

    def at(self, *parts):
        return os.path.join(self.dir, *parts)

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.at(name)), exist_ok=True)
        with open(self.at(name), "w", encoding="utf-8") as f:
            f.write(text)
        return self.at(name)

    def start(self, name, argv, env=None, stdout=None):
        log = open(self.at(name + ".log"), "ab")
        self.procs[name] = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stdout or log, stderr=log,
                                            env={**os.environ, **(env or {})}, start_new_session=True)
        log.close()
        return self.procs[name]

    def stop(self, name, seconds=20):
        p = self.procs.pop(name, None)
        if p is None:
            return None
        p.send_signal(signal.SIGTERM)
        try:
            return p.wait(seconds)
        except subprocess.TimeoutExpired:
            p.kill()
            return p.wait()

    def log(self, name):
        with open(self.at(name + ".log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def close(self, keep):
        for name in list(self.procs)[::-1]:
            self.stop(name)
        self.stack.close()
        if keep:
            print(f"logs are in {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    # --- certificates -----------------------------------------------------------------------------------------

    def pair(self, name, subject, *extra):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                "-keyout", self.at(name + ".key"), "-out", self.at(name + ".crt"), "-subj", subject, *extra)

    def certificates(self):
        self.pair("ca", "/CN=kubernetes")
        for name in ("etcd-ca", "proxy-ca"):
            self.pair(name, "/CN=" + name)
        self.pair("server", "/CN=server", "-CA", self.at("ca.crt"), "-CAkey", self.at("ca.key"), "-addext",
                  "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes", "-addext", "basicConstraints=critical,CA:FALSE")
        self.pair("vcenter", "/CN=vcenter", "-addext", "subjectAltName=IP:127.0.0.1")
        self.pair("sa", "/CN=sa")
        with open(self.at("sa.pub"), "wb") as f:
            f.write(openssl("pkey", "-in", self.at("sa.key"), "-pubout"))
        os.makedirs(self.at("hooks"))
        for a, b in (("crt", "tls.crt"), ("key", "tls.key")):
            shutil.copy(self.at("server." + a), self.at("hooks", b))

    def read(self, name):
        with open(self.at(name), encoding="utf-8") as f:
            return f.read()

    # --- programs -------------------------------------------------------------------------------------------

    def token(self, user, group):
        token = base64.b16encode(os.urandom(16)).decode()
        self.tokens[user] = token
        return f'{token},{user},{user},"{group}"\n'

    def kubeconfig(self, user):
        name = user.rsplit(":", maxsplit=1)[-1]
        return self.write(f"kubeconfig/{name}", json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": f"https://127.0.0.1:{self.ports['api']}",
                                                   "certificate-authority": self.at("ca.crt")}}],
            "users": [{"name": "x", "user": {"token": self.tokens[user]}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}]}))

    MANAGERS = {
        "core": ("capi-core", "capi-system", "capi-manager", "capi-webhook-service"),
        "bootstrap": ("capi-bootstrap", "capi-kubeadm-bootstrap-system", "capi-kubeadm-bootstrap-manager",
                      "capi-kubeadm-bootstrap-webhook-service"),
        "control-plane": ("capi-controlplane", "capi-kubeadm-control-plane-system",
                          "capi-kubeadm-control-plane-manager", "capi-kubeadm-control-plane-webhook-service"),
        "capv": ("capv", "capv-system", "capv-manager", "capv-webhook-service"),
        "ipam": ("capv", "capi-ipam-in-cluster-system", "capi-ipam-in-cluster-controller-manager",
                 "capi-ipam-in-cluster-webhook-service"),
    }
    PROBES = {"ipam": "--health-probe-bind-address"}    # of others it is --health-addr

    def start_api(self, *controllers):
        for name in ("api", "etcd", "etcd-peer", "kcm"):
            self.ports[name] = free_port()
        for name in self.MANAGERS:
            self.ports[name] = free_port()
        users = self.token("admin", "system:masters")
        for _, ns, account, _ in self.MANAGERS.values():
            users += self.token(f"system:serviceaccount:{ns}:{account}", "system:serviceaccounts,system:authenticated")
        tokens = self.write("tokens.csv", users)
        url = f"http://127.0.0.1:{self.ports['etcd']}"
        to = f"http://127.0.0.1:{self.ports['etcd-peer']}"
        self.start("etcd", [peer("etcd"), "--name=x", "--data-dir", self.at("etcd-data"), "--unsafe-no-fsync",
                            "--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", to,
                            "--initial-advertise-peer-urls", to, f"--initial-cluster=x={to}", "--log-level=warn"])
        self.start("kube-apiserver", [
            peer("kube-apiserver-1.36.3"), f"--etcd-servers={url}", "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1", f"--secure-port={self.ports['api']}",
            f"--tls-cert-file={self.at('server.crt')}", f"--tls-private-key-file={self.at('server.key')}",
            f"--client-ca-file={self.at('ca.crt')}", f"--token-auth-file={tokens}", "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.at('sa.pub')}",
            f"--service-account-signing-key-file={self.at('sa.key')}", "--service-cluster-ip-range=10.96.0.0/24",
            "--endpoint-reconciler-type=none", "--disable-admission-plugins=ServiceAccount",
            f"--cert-dir={self.at('apiserver')}"])
        self.api = API(self.ports["api"], self.at("ca.crt"), self.tokens["admin"])
        until("kube-apiserver answers", lambda: self.api.call("GET", "/api/v1/namespaces/default"), 180)
        # The other one ends when that takes longer than 10 s.
        until("kube-apiserver is healthy", lambda: self.api.call("GET", "/healthz"), 180)
        self.start("kcm", [
            peer("kube-controller-manager-1.36.3"), f"--kubeconfig={self.kubeconfig('admin')}",
            "--controllers=" + ",".join(["garbage-collector-controller", "namespace-controller",
                                        "clusterrole-aggregation-controller", *controllers]),
            "--leader-elect=false", "--bind-address=127.0.0.1", f"--secure-port={self.ports['kcm']}",
            f"--cert-dir={self.at('kcm')}"])

    def install(self):
        """Everything of the bundle but what runs in pods; webhooks are reached at URLs."""
        bundle = self.at("bundle")
        subprocess.run([peer("bundle"), bundle], check=True)
        ports = {service: self.ports[name] for name, (_, _, _, service) in self.MANAGERS.items()}
        with open(self.at("ca.crt"), "rb") as f:
            ca = base64.b64encode(f.read()).decode()
        self.args = {}

        def to_url(config):
            if config and "service" in config:
                s = config.pop("service")
                config["url"] = f"https://127.0.0.1:{ports[s['name']]}{s.get('path', '/convert')}"
                assert config["caBundle"], "the bundle gives each webhook a CA"
                config["caBundle"] = ca

        hooks = []
        for folder, _, files in sorted(os.walk(bundle)):
            for name in files:
                if name == "metadata.yaml":
                    continue
                text = subprocess.run([peer("yamlcheck"), os.path.join(folder, name)], check=True,
                                      stdout=subprocess.PIPE).stdout
                for o in json.loads(text)["items"]:
                    for h in o.get("webhooks", []):
                        to_url(h["clientConfig"])
                    spec = o.get("spec", {})
                    to_url(spec.get("conversion", {}).get("webhook", {}).get("clientConfig"))
                    if o["kind"] == "Deployment":
                        self.args[o["metadata"]["namespace"]] = spec["template"]["spec"]["containers"][0]["args"]
                    elif o["kind"].endswith("WebhookConfiguration"):
                        hooks.append(o)
                    elif o["kind"] not in ("Service", "Secret"):
                        if o["kind"] == "CustomResourceDefinition":
                            o["metadata"].setdefault("labels", {})["clusterctl.cluster.x-k8s.io"] = ""
                        self.api.create(o)
        for name in self.MANAGERS:
            self.start_manager(name)
        for name in self.MANAGERS:
            until(f"webhooks of {name} are served", lambda n=name: self.serves(n), 120)
        for o in hooks:
            self.api.create(o)

    def serves(self, name):
        assert self.procs[name].poll() is None, f"{name} ended: {self.log(name)[-2000:]}"
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.ports[name])) == 0

    def start_manager(self, name):
        program, ns, account, _ = self.MANAGERS[name]
        args = [re.sub(r"\$\{\w+:?[=-]([^}]*)\}", r"\1", a) for a in self.args[ns]]
        args = [a for a in args if not re.match(r"--(leader-elect|diagnostics|insecure|credentials)", a)]
        args += [f"--kubeconfig={self.kubeconfig(f'system:serviceaccount:{ns}:{account}')}",
                 f"--webhook-port={self.ports[name]}", f"--webhook-cert-dir={self.at('hooks')}",
                 f"{self.PROBES.get(name, '--health-addr')}=127.0.0.1:{free_port()}"]
        if name != "capv":
            args += [f"--diagnostics-address=127.0.0.1:{free_port()}", "--insecure-diagnostics=true"]
        self.start(name, [peer(program), *args], {"POD_NAMESPACE": ns, "POD_NAME": name, "POD_UID": name})

    def start_vcsim(self):
        world = self

        class Boot(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                world.booted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def do_DELETE(self):
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args):
                pass

        boots = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Boot)
        threading.Thread(target=boots.serve_forever, daemon=True).start()
        self.stack.callback(boots.shutdown)
        self.write("password", "right")
        p = self.start("vcsim", [
            peer("vcsim"), "--model", "cluster=2,datastore=2,portgroup=2", "--password-file", self.at("password"), "--cert", self.at("vcenter.crt"), "--key",
            self.at("vcenter.key"), "--admin", "127.0.0.1:0", "--watch-kubeapi",
            f"http://127.0.0.1:{boots.server_port}"], stdout=subprocess.PIPE)
        self.vc = json.loads(p.stdout.readline())

    def tag(self, tags):
        """tags: {CATEGORY/NAME: PATH}"""
        vmctl = [peer("vmctl"), "--url", self.vc["url"], "--password-file", self.at("password"), "--ca", self.at("vcenter.crt")]
        for words in (["make-tags", *tags], *(["attach-tag", *on] for on in tags.items())):
            subprocess.run([*vmctl, *words], check=True, stdout=subprocess.PIPE)

    def admin(self, method, path):
        host = self.vc["admin"].removeprefix("http://")
        conn = http.client.HTTPConnection(host, timeout=10)
        conn.request(method, path)
        doc = json.loads(conn.getresponse().read())
        conn.close()
        return doc

    def mutating(self):
        calls = self.admin("GET", "/calls")["sinceReset"]["method"]
        return {name: n for name, n in sorted(calls.items()) if MUTATING.match(name)}

    def soap(self):
        return self.admin("GET", "/calls")["sinceReset"]["total"]

    def machines(self):
        text = subprocess.run([peer("vmread"), "--url", self.vc["url"], "--password-file", self.at("password"), "--ca",
                               self.at("vcenter.crt")], check=True, stdout=subprocess.PIPE).stdout
        return {vm["name"]: vm for vm in json.loads(text)["items"] if not vm["template"]}


def condition(o, kind):
    for c in o.get("status", {}).get("conditions", []):
        if c["type"] == kind:
            return c
    return {}


def is_true(o, kind):
    return o is not None and condition(o, kind).get("status") == "True"


class Graph:
    """The objects of one cluster, in a namespace of its own."""

    def __init__(self, w, ns, thumbprint=None):
        self.w, self.ns, self.api = w, ns, w.api
        self.endpoint = {"host": "127.0.0.1", "port": w.ports["api"]}
        self.thumbprint = w.vc["thumbprintSHA1"] if thumbprint is None else thumbprint
        w.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ns}})
        w.graphs.append(self)

    def make(self, kind, name, spec=None, labels=None, **more):
        o = {"apiVersion": APIS[kind], "kind": kind, "metadata": {
            "name": name, **({} if kind in CLUSTER_SCOPED else {"namespace": self.ns}),
            "labels": {"cluster.x-k8s.io/cluster-name": "c1", **(labels or {})},
            "annotations": more.pop("annotations", {})}, **more}
        if "owners" in o:
            o["metadata"]["ownerReferences"] = o.pop("owners")
        if spec is not None:
            o["spec"] = spec
        return self.api.create(o)

    def get(self, kind, name):
        return self.api.find(kind, self.ns, name)

    devices = None      # network devices of machines, where they are others than one with DHCP
    worker = {}         # what the workers' template has besides

    def clone_spec(self):
        spec = {"server": f"{self.w.vc['host']}:{self.w.vc['port']}", "datacenter": self.w.vc["datacenter"],
                "folder": self.w.vc["folder"], "datastore": self.w.vc["datastore"],
                "resourcePool": self.w.vc["resourcePool"], "template": self.w.vc["template"],
                "cloneMode": "fullClone", "numCPUs": 2, "memoryMiB": 2048, "diskGiB": 25,
                "customVMXKeys": {"pcg.test": self.ns},
                "network": {"devices": self.devices or [{"networkName": self.w.vc["network"], "dhcp4": True}]}}
        if self.thumbprint:
            spec["thumbprint"] = self.thumbprint
        return spec

    KUBEADM = {"initConfiguration": {"nodeRegistration": {"name": "{{ local_hostname }}"}},
               "joinConfiguration": {"nodeRegistration": {"name": "{{ local_hostname }}"}}}

    def secrets(self, leave_out=()):
        if "identity" not in leave_out:
            self.make("Secret", "c1", type="Opaque", stringData={"username": USER, "password": "right"})
        for name, crt, key in (("ca", "ca.crt", "ca.key"), ("etcd", "etcd-ca.crt", "etcd-ca.key"),
                               ("proxy", "proxy-ca.crt", "proxy-ca.key"), ("sa", "sa.pub", "sa.key")):
            if name in leave_out:
                continue
            self.make("Secret", "c1-" + name, type="cluster.x-k8s.io/secret",
                      stringData={"tls.crt": self.w.read(crt), "tls.key": self.w.read(key)})
            if name + " label" in leave_out:
                self.api.patch("Secret", self.ns, "c1-" + name, {"metadata": {"labels": None}})

    def cluster(self, paused, leave_out=()):
        spec = {"controlPlaneEndpoint": self.endpoint,
                "clusterNetwork": {"pods": {"cidrBlocks": ["192.168.0.0/16"]},
                                   "services": {"cidrBlocks": ["10.96.0.0/24"]}, "serviceDomain": "cluster.local"},
                "controlPlaneRef": {"apiGroup": "controlplane.cluster.x-k8s.io", "kind": "KubeadmControlPlane",
                                    "name": "c1-cp"},
                "infrastructureRef": {"apiGroup": INFRA, "kind": "VSphereCluster", "name": "c1"}}
        if paused:
            spec["paused"] = True
        if "endpoint" in leave_out:
            del spec["controlPlaneEndpoint"]
        self.make("Cluster", "c1", spec)
        spec = {"server": f"{self.w.vc['host']}:{self.w.vc['port']}", "controlPlaneEndpoint": self.endpoint,
                "identityRef": {"kind": "Secret", "name": "c1"}}
        if self.thumbprint:
            spec["thumbprint"] = self.thumbprint
        self.make("VSphereCluster", "c1", spec)
        for name in ("c1-cp", "c1-md") if "template" not in leave_out else ("c1-md",):
            self.make("VSphereMachineTemplate", name, {"template": {"spec": {
                **self.clone_spec(), **(self.worker if name == "c1-md" else {})}}})
        self.make("KubeadmControlPlane", "c1-cp", {
            "replicas": 1, "version": VERSION, "kubeadmConfigSpec": self.KUBEADM,
            "machineTemplate": {"spec": {"infrastructureRef": {
                "apiGroup": INFRA, "kind": "VSphereMachineTemplate", "name": "c1-cp"}}}})

    def workers(self, replicas, name="c1-md", pool="w", **more):
        """more: members of the machines' spec. The template of machines is c1-md always."""
        if not self.get("KubeadmConfigTemplate", "c1-md"):
            self.make("KubeadmConfigTemplate", "c1-md", {"template": {"spec": {
                "joinConfiguration": {"nodeRegistration": {"name": "{{ local_hostname }}"}}}}})
        self.make("MachineDeployment", name, {
            "clusterName": "c1", "replicas": replicas, "selector": {"matchLabels": {"pool": pool}},
            "template": {"metadata": {"labels": {"pool": pool}}, "spec": {
                "clusterName": "c1", "version": VERSION, **more,
                "bootstrap": {"configRef": {"apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfigTemplate",
                                            "name": "c1-md"}},
                "infrastructureRef": {"apiGroup": INFRA, "kind": "VSphereMachineTemplate", "name": "c1-md"}}}},
            annotations={"machineset.cluster.x-k8s.io/skip-preflight-checks": "All"})

    # --- adoption -------------------------------------------------------------------------------------------

    def adopt(self, name, uuid, leave_out=(), **change):
        """The spec-only graph of adoption.md around the machine with that uuid."""
        control_plane = {"cluster.x-k8s.io/control-plane": "", "cluster.x-k8s.io/control-plane-name": "c1-cp"}
        labels = change.get("labels", control_plane)
        self.secrets(leave_out)
        self.cluster(True, leave_out)
        provider = {} if "providerID" in leave_out else {"providerID": "vsphere://" + uuid}
        config = {"configRef": {"apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfig", "name": name}}
        self.make("Machine", name, {
            "clusterName": "c1", "version": VERSION, **provider,
            "bootstrap": {**({} if "configRef" in leave_out else config), "dataSecretName": name},
            "infrastructureRef": {"apiGroup": INFRA, "kind": "VSphereMachine", "name": name}}, labels)
        self.make("KubeadmConfig", name, {**{k: v for k, v in self.KUBEADM.items() if k != "joinConfiguration"},
                                          **change.get("config", {})}, labels)
        cloned = {"cluster.x-k8s.io/cloned-from-name": change.get("cloned_from", "c1-cp"),
                  "cluster.x-k8s.io/cloned-from-groupkind": "VSphereMachineTemplate." + INFRA}
        self.make("VSphereMachine", name, {**self.clone_spec(), **provider}, labels, annotations=cloned)
        if "VSphereVM" not in leave_out:
            bios = {} if "biosUUID" in leave_out else {"biosUUID": change.get("biosUUID", uuid)}
            self.make("VSphereVM", name, {**self.clone_spec(), **bios, "bootstrapRef": {"name": name}}, labels,
                      **({"owners": change["owners"]} if "owners" in change else {}))
        if "bootstrap" not in leave_out:
            self.make("Secret", name, type="cluster.x-k8s.io/secret",
                      stringData={"value": change.get("data", ""), "format": "cloud-config"})

    def unpause(self):
        self.api.patch("Cluster", self.ns, "c1", {"spec": {"paused": None}})

    def node(self, name, uuid):
        self.api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
                         "spec": {"providerID": "vsphere://" + uuid}})

    def initialized(self):
        """Waits until workers may be made, which join by what a first control plane leaves behind. With kubeconfig() before
        that takes no time: who does not find one looks again after half a minute."""
        if not self.api.find("ConfigMap", "kube-system", "kubeadm-config"):
            self.api.create({"apiVersion": "v1", "kind": "ConfigMap", "data": {"ClusterConfiguration": ""},
                             "metadata": {"name": "kubeadm-config", "namespace": "kube-system"}})
        until("the control plane is initialized", lambda: self.get("Cluster", "c1").get("status", {}).get(
            "initialization", {}).get("controlPlaneInitialized"))

    def kubeconfig(self):
        self.make("Secret", "c1-kubeconfig", type="cluster.x-k8s.io/secret",
                  stringData={"value": self.w.read("kubeconfig/admin")})

    def scale(self, replicas):
        self.api.patch("MachineDeployment", self.ns, "c1-md", {"spec": {"replicas": replicas}})

    # Who sees the Cluster paused, in the order in which they make each other, once it has such an owner; a VSphereVM that
    # says so has no call left.
    PAUSED = {"KubeadmControlPlane": "Cluster", "MachineSet": "MachineDeployment", "Machine": "", "VSphereMachine": "Machine",
              "VSphereVM": "VSphereMachine"}

    def rest(self):
        """Ends what the controllers do for it, so that the next case can count calls."""
        c = self.get("Cluster", "c1")
        if not c or c["spec"].get("paused"):
            return
        self.api.patch("Cluster", self.ns, "c1", {"spec": {"paused": True}})
        self.seen_paused()

    def seen_paused(self):
        def resting():
            busy = [f"{kind} {o['metadata']['name']}" for kind, by in self.PAUSED.items()
                    for o in self.api.items(kind, self.ns) if not is_true(o, "Paused") and
                    [r for r in o["metadata"].get("ownerReferences", []) if by in ("", r["kind"])]]
            if busy:
                raise Refused(0, ", ".join(busy))
            return True

        until("all controllers see the Cluster paused", resting)


# What the controllers would write themselves, byte for byte.
METADATA = """
instance-id: "%(name)s"
local-hostname: "%(name)s"
wait-on-network:
  ipv4: true
  ipv6: false
network:
  version: 2
  ethernets:
    id0:
      match:
        macaddress: "@MAC@"
      set-name: "eth0"
      wakeonlan: true
      dhcp4: true
      dhcp6: false
      accept-ra: false
"""


def made(w, ns, metadata=METADATA):
    """A machine that somebody else cloned and powered on, and the namespace that knows nothing of it."""
    g = Graph(w, ns)
    name = f"{ns}-cp-bcdfg"
    vmctl = [peer("vmctl"), "--url", w.vc["url"], "--password-file", w.at("password"), "--ca", w.at("vcenter.crt")]
    path = f"{w.vc['folder']}/{name}"
    subprocess.run(vmctl + ["clone", w.vc["template"], path, "--pool", w.vc["resourcePool"], "--userdata",
                            w.write("user-data", "#cloud-config\n"), "--metadata",
                            w.write("metadata", metadata % {"name": name})], check=True, stdout=subprocess.PIPE)
    done = subprocess.run(vmctl + ["power-on", path], check=True, stdout=subprocess.PIPE)
    until("its guest reports an address", lambda: w.machines()[name].get("ipAddress"))
    w.admin("POST", "/reset")
    return g, name, json.loads(done.stdout)["uuid"].lower()


def adopted(g, name, uuid, seconds=LIMIT):
    m = until("the VSphereMachine is provisioned", lambda: (
        lambda m: m if m and m.get("status", {}).get("initialization", {}).get("provisioned") else None)(
            g.get("VSphereMachine", name)), seconds)
    assert m["spec"]["providerID"] == "vsphere://" + uuid
    vm = g.get("VSphereVM", name)
    assert vm["spec"]["biosUUID"].lower() == uuid and vm["status"]["ready"]
    assert [o["kind"] for o in m["metadata"]["ownerReferences"]] == ["Machine"]
    owner = vm["metadata"]["ownerReferences"]
    assert [o["kind"] for o in owner] == ["VSphereMachine"] and not owner[0].get("controller"), owner
    assert "vspherevm." + INFRA in vm["metadata"]["finalizers"]
    assert "vspheremachine." + INFRA in m["metadata"]["finalizers"]
    secret = g.get("Secret", "c1")
    assert secret["metadata"]["ownerReferences"][0]["kind"] == "VSphereCluster"
    assert "vspherecluster/" + INFRA in secret["metadata"]["finalizers"]
    return m


NEEDED = ("etcd", "kube-apiserver-1.36.3", "kube-controller-manager-1.36.3", "capi-core", "capi-bootstrap",
          "capi-controlplane", "capv", "bundle", "vcsim", "vmread", "vmctl", "yamlcheck")


def enclose(needed=NEEDED):
    """Builds what is needed, then goes on in a network namespace of its own: no packet leaves it."""
    if os.environ.get("PCG_TEST_INSIDE"):
        # Ended at a time limit, nothing of it stays.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    if os.geteuid() != 0:
        print("0 passed, 0 failed, 1 skipped (needs root for a network namespace)")
        sys.exit(0)
    for name in needed:
        peer(name)
    os.environ["PCG_TEST_INSIDE"] = "1"
    os.execvp("unshare", ["unshare", "--net", sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]])


