# SPDX-License-Identifier: Apache-2.0
"""Real API servers with the real definitions of Cluster API, on loopback: an etcd and a kube-apiserver each,
and what of a kube-controller-manager is asked for. They write audit logs, so that calls are counted by who made them."""
import http.client
import json
import os
import queue
import shutil
import socket
import ssl
import subprocess
import threading
import time

import gateway

K8S = "1.36.3"
IDLE_S = 20
DEFINITIONS = ("core", "bootstrap", "control-plane", "vsphere")
AUDIT = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived", "ResponseStarted"],
         "omitManagedFields": True, "rules": [
             {"level": "None", "users": ["system:kube-controller-manager", "system:apiserver", "bench"]},
             {"level": "Metadata"}]}


def peers(source, *names):
    """Paths of programs that are built already: a bench builds nothing of others."""
    out, script = {}, os.path.join(source, "tests", "peers", "build-peers")
    for name in names:
        done = subprocess.run([script, "--built", name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                              timeout=60)
        if done.returncode:
            raise gateway.Missing("the peer %s is not built: run tests/peers/build-peers %s" % (name, " ".join(names)))
        out[name] = done.stdout.decode().strip().splitlines()[-1]
    return out


def free_ports(n):
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports


class Refused(gateway.Failed):
    def __init__(self, status, message):
        super().__init__("%d: %s" % (status, message))
        self.status = status


class Server:
    """One etcd and kube-apiserver below the folder of a Rig."""

    def __init__(self, rig, name):
        self.rig, self.name = rig, name
        self.port, self.etcd, self.peer = free_ports(3)
        self.url = "https://127.0.0.1:%d" % self.port
        self.audit = rig.at(name + ".audit")
        self.local = threading.local()
        self.kubeconfigs = {}

    def start(self):
        client, to = "http://127.0.0.1:%d" % self.etcd, "http://127.0.0.1:%d" % self.peer
        rig = self.rig
        rig.start(self.name + "-etcd", rig.peers["etcd"], "--data-dir", rig.at(self.name + "-etcd-data"),
                  "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", to,
                  "--initial-advertise-peer-urls", to, "--initial-cluster", "default=" + to, "--unsafe-no-fsync",
                  "--log-level", "warn")
        rig.start(self.name + "-apiserver", rig.peers["kube-apiserver-" + K8S], "--etcd-servers", client,
                  "--secure-port", str(self.port), "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1",
                  "--client-ca-file", rig.at("ca.pem"), "--tls-cert-file", rig.at("server.pem"),
                  "--tls-private-key-file", rig.at("server.key"), "--authorization-mode", "RBAC",
                  "--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file",
                  rig.at("sa.key"), "--service-account-signing-key-file", rig.at("sa.key"),
                  "--service-cluster-ip-range", "10.96.0.0/12", "--endpoint-reconciler-type", "none",
                  "--disable-admission-plugins", "ServiceAccount", "--audit-policy-file", rig.at("audit.json"),
                  "--audit-log-path", self.audit)

    def ready(self):
        try:
            return bool(self.call("GET", "/api/v1/namespaces/default"))
        except (Refused, OSError, http.client.HTTPException):
            self.local.conn = None
            return False

    def manager(self, controllers):
        self.rig.start(self.name + "-manager", self.rig.peers["kube-controller-manager-" + K8S], "--kubeconfig",
                       self.kubeconfig("system:kube-controller-manager"), "--controllers", controllers,
                       "--leader-elect=false", "--secure-port", "0")

    def kubeconfig(self, user):
        cert = self.rig.client(user)
        path = self.rig.at("%s-%s.kubeconfig" % (self.name, cert))
        gateway.write(path, json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": self.url, "certificate-authority": self.rig.at("ca.pem")}}],
            "users": [{"name": "u", "user": {"client-certificate": self.rig.at(cert + ".pem"),
                                             "client-key": self.rig.at(cert + ".key")}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]}))
        return path

    def connect(self, timeout):
        context = ssl.create_default_context(cafile=self.rig.at("ca.pem"))
        cert = self.rig.client("bench")
        context.load_cert_chain(self.rig.at(cert + ".pem"), self.rig.at(cert + ".key"))
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=timeout)

    def call(self, method, path, body=None, kind="application/json"):
        """A connection kept for each thread; a server closes one that was idle for long."""
        conn = getattr(self.local, "conn", None)
        if not conn or time.monotonic() - self.local.used > IDLE_S:
            conn = self.local.conn = self.connect(60)
        self.local.used = time.monotonic()
        conn.request(method, path, None if body is None else json.dumps(body), {"Content-Type": kind})
        reply = conn.getresponse()
        text = reply.read()
        doc = json.loads(text) if text.startswith(b"{") else {}
        if reply.status >= 300:
            raise Refused(reply.status, doc.get("message", text[:200]))
        return doc

    def watch(self, path):
        """Lines of a watch from now on, over a connection of its own."""
        since = self.call("GET", path)["metadata"]["resourceVersion"]
        conn = self.connect(None)
        conn.request("GET", "%s?watch=1&resourceVersion=%s" % (path, since))
        yield from conn.getresponse()

    def patch(self, path, body):
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def many(self, work):
        """Callables, a few at a time."""
        todo, failed = queue.Queue(), []
        for item in work:
            todo.put(item)

        def go():
            while not failed:
                try:
                    todo.get_nowait()()
                except queue.Empty:
                    return
                except Exception as e:  # pylint: disable=broad-except
                    failed.append(e)
        threads = [threading.Thread(target=go) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if failed:
            raise gateway.Failed("the graph cannot be made: %s" % failed[0])

    def define(self, definitions):
        self.many([lambda d=d: self.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", d)
                   for d in definitions])
        for d in definitions:
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + d["metadata"]["name"]
            gateway.wait_for(path, lambda p=path: any(
                c["type"] == "Established" and c["status"] == "True"
                for c in (self.call("GET", p).get("status", {}).get("conditions") or ())), 60)

    def mark(self):
        return os.path.getsize(self.audit)

    def calls(self, mark, user):
        """Calls of a user since a mark: [(verb, URI)]."""
        out = []
        with open(self.audit, encoding="utf-8") as f:
            f.seek(mark)
            for line in f:
                event = json.loads(line)
                if event["user"]["username"] == user:
                    out.append((event["verb"], event["requestURI"]))
        return out


class Rig:
    def __init__(self, args, work, *more):
        self.work, self.children, self.lock, self.clients = work, [], threading.Lock(), set()
        if not shutil.which("openssl"):
            raise gateway.Missing("openssl makes the certificates; on Debian: apt-get install openssl")
        self.peers = peers(args.source, "etcd", "kube-apiserver-" + K8S, "kube-controller-manager-" + K8S, "bundle",
                           "yamlcheck", *more)

    def at(self, name):
        return os.path.join(self.work, name)

    def start(self, name, *argv):
        with open(self.at(name + ".log"), "ab") as log:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.work)
        self.children.append(child)

    def openssl(self, *argv):
        subprocess.run(("openssl",) + argv, cwd=self.work, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")

    def signed(self, name, subject, extensions):
        gateway.write(self.at(name + ".ext"), extensions)
        self.openssl("req", *self.EC, "-subj", subject, "-keyout", name + ".key", "-out", name + ".csr")
        self.openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                     "-days", "2", "-extfile", name + ".ext", "-out", name + ".pem")

    def client(self, user):
        """Name of the certificate of a user who may do all."""
        name = "client-" + user.replace(":", "-")
        with self.lock:
            if name not in self.clients:
                self.signed(name, "/O=system:masters/CN=" + user, "extendedKeyUsage=clientAuth\n")
                self.clients.add(name)
        return name

    def __enter__(self):
        self.openssl("req", "-x509", *self.EC, "-days", "3650", "-subj", "/CN=kubernetes", "-keyout", "ca.key",
                     "-out", "ca.pem")
        self.signed("server", "/CN=kube-apiserver",
                    "subjectAltName=IP:127.0.0.1,IP:10.96.0.1,DNS:kubernetes\nextendedKeyUsage=serverAuth\n")
        self.openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", "sa.key")
        gateway.write(self.at("audit.json"), json.dumps(AUDIT))
        return self

    def __exit__(self, *unused):
        # An API server whose etcd ends first would wait for it; nothing of theirs is kept.
        for child in self.children:
            child.kill()
        for child in self.children:
            child.wait()

    def servers(self, *names):
        out = [Server(self, name) for name in names]
        for server in out:
            server.start()
        for server in out:
            gateway.wait_for("kube-apiserver " + server.name, server.ready, 180, 0.3)
        return out

    def definitions(self):
        """Of Cluster API and of the vSphere provider, as clusterctl would have installed them. Their conversions are
        webhooks of controllers that are not here."""
        raw, out = os.path.join(os.path.dirname(self.peers["bundle"]), "raw"), []
        for name in DEFINITIONS:
            text = subprocess.run([self.peers["yamlcheck"], os.path.join(raw, name + ".yaml")], check=True,
                                  stdout=subprocess.PIPE).stdout
            for o in json.loads(text)["items"]:
                if o["kind"] == "CustomResourceDefinition":
                    o["spec"].pop("conversion", None)
                    o["metadata"].pop("annotations", None)
                    o["metadata"].setdefault("labels", {})["clusterctl.cluster.x-k8s.io"] = ""
                    out.append(o)
        return out

