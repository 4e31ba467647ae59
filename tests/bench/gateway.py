# SPDX-License-Identifier: Apache-2.0
"""Starts a plane, a simulated cloud and a paired gateway of the built programs, and talks to them.

Everything that is started is ended by its process id when the context ends."""
import http.client
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import time
import urllib.parse

SIM_TOKEN = "bench-token-of-the-simulated-cloud"
CNI = """apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: cni
  namespace: kube-system
spec:
  selector: {matchLabels: {app: cni}}
  template:
    metadata: {labels: {app: cni}}
    spec:
      hostNetwork: true
      tolerations: [{operator: Exists}]
      containers: [{name: cni, image: 'cni:1'}]
"""


class Missing(Exception):
    """A program or a tool is not there."""


class Failed(Exception):
    """It was measured and did not work."""


def wait_for(what, condition, seconds=30.0, every=0.02):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        got = condition()
        if got:
            return got
        time.sleep(every)
    raise Failed("%s did not come within %g s" % (what, seconds))


def write(path, text):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as f:
        f.write(text)


def read(path):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read()
    except FileNotFoundError:
        return ""


class Http:
    """One kept connection to one server."""

    def __init__(self, url, headers, ca=None):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme == "https":
            self.conn = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=60,
                context=ssl.create_default_context(cafile=ca))
        else:
            self.conn = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        self.headers = headers

    def __call__(self, method, path, body=None, want=(200, 201, 202, 204)):
        self.conn.request(method, path, json.dumps(body) if body is not None else None,
                          dict(self.headers, **{"Content-Type": "application/json"}))
        resp = self.conn.getresponse()
        text = resp.read()
        if resp.status not in want:
            raise Failed("%s %s answered %d: %s" % (method, path, resp.status, text[:400]))
        try:
            return json.loads(text) if text else None
        except ValueError:
            return None


class Lab:
    """cloud type sim; with sim=False only plane and gateway."""

    def __init__(self, args, work, settings="", sim=True, log_level="warn"):
        self.build, self.source, self.work = args.build, args.source, work
        self.settings, self.with_sim, self.log_level = settings, sim, log_level
        self.children = []

    def program(self, name):
        path = os.path.join(self.build, name)
        if not os.access(path, os.X_OK):
            raise Missing("%s is not built" % path)
        return path

    def path(self, name):
        return os.path.join(self.work, name)

    def start(self, name, *argv):
        with open(self.path(name + ".log"), "ab") as log:
            child = subprocess.Popen((self.program(name),) + argv, stderr=log,
                                     stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        self.children.append((name, child))
        return child

    def __enter__(self):
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        for _, child in reversed(self.children):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for name, child in reversed(self.children):
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                print("%s did not end within 20 s" % name)
        self.children = []

    def open(self):
        if self.with_sim:
            write(self.path("token"), SIM_TOKEN + "\n")
            self.sim_process = self.start(
                "pcg-simcloud", "--state", self.path("sim"), "--listen", "127.0.0.1:0",
                "--token-file", self.path("token"), "--ready-file", self.path("sim.ready"))
        self.plane_process = self.start(
            "pcg-plane", "--state", self.path("plane"), "--listen", "127.0.0.1:0",
            "--ready-file", self.path("plane.ready"))
        wait_for("the plane", lambda: read(self.path("plane.ready")))
        self.plane_url = read(self.path("plane/url")).strip()
        self.plane_key = read(self.path("plane/api-key")).strip()
        self.plane_ca = self.path("plane/ca.crt")
        self.plane = Http(self.plane_url, {"ApiKey": self.plane_key}, self.plane_ca)
        if self.with_sim:
            wait_for("the simulated cloud", lambda: read(self.path("sim.ready")))
            self.sim_url = json.loads(read(self.path("sim.ready")))["url"]
            self.sim = Http(self.sim_url, {"Authorization": "Bearer " + SIM_TOKEN})
        self.pair()
        self.start_gateway()

    def plugins(self):
        folder = self.path("plugins")
        os.makedirs(folder, exist_ok=True)
        libs = os.path.join(self.build, ".libs")
        for name in os.listdir(libs) if os.path.isdir(libs) else ():
            if name.startswith("libpcg-") and name.endswith(".so"):
                with open(os.path.join(libs, name), "rb") as src:
                    data = src.read()
                with open(os.path.join(folder, name), "wb") as dst:
                    dst.write(data)
                os.chmod(os.path.join(folder, name), 0o644)
        return folder

    def pair(self):
        code = self.plane("GET", "/v1/overlords/pairing/code?cloudType=sim")["pairingCode"]
        write(self.path("code"), code + "\n")
        write(self.path("pcgd.conf"),
              'state_dir = "%s"; plugins_dir = "%s"; policy_dir = "%s"; bundle_dir = "%s";\n'
              'log_level = "%s"; plane = { url = "%s"; ca_file = "%s"; };\n%s\n'
              % (self.path("pcgd"), self.plugins(), self.path("policy.d"),
                 os.path.join(self.source, "bundles", "sim"), self.log_level, self.plane_url,
                 self.plane_ca, self.settings))
        done = subprocess.run([self.program("pcgd"), "--config", self.path("pcgd.conf"),
                               "--pair", self.path("code")], stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise Failed("pairing: %s" % done.stderr.decode())

    def start_gateway(self):
        self.gateway_process = self.start("pcgd", "--config", self.path("pcgd.conf"))
        self.overlord = wait_for("the gateway at the plane", self.active, every=0.1)

    def active(self):
        for item in self.plane("GET", "/v1/overlords")["items"]:
            if item["status"].get("isActive"):
                return item["metadata"]["uid"]
        return None

    def add_account(self, endpoint):
        return self.plane("POST", "/v1/cloudaccounts/sim", {
            "metadata": {"name": "bench", "annotations": {"overlordUid": self.overlord}},
            "spec": {"endpoint": endpoint, "token": SIM_TOKEN}})["uid"]

    def add_profile(self, cloud="sim"):
        uid = self.plane("POST", "/v1/clusterprofiles", {
            "metadata": {"name": "bench"},
            "spec": {"version": "1.0.0", "template": {
                "cloudType": cloud, "type": "cluster", "packs": [
                    {"name": "kubernetes", "tag": "1.36.3", "type": "spectro", "layer": "k8s",
                     "values": ""},
                    {"name": "flannel", "type": "manifest", "layer": "cni",
                     "manifests": [{"name": "cni", "content": CNI}]}]}}})["uid"]
        self.plane("PATCH", "/v1/clusterprofiles/%s/publish" % uid)
        return uid

    def cluster_request(self, name, account, profile):
        return {"metadata": {"name": name}, "spec": {
            "cloudAccountUid": account, "cloudConfig": {}, "profiles": [{"uid": profile}],
            "machinepoolconfig": [{"cloudConfig": {}, "poolConfig": {
                "name": "cp", "size": 1, "isControlPlane": True, "labels": ["control-plane"]}}]}}

    def control(self):
        return Control(self.path("pcgd/pcgd.sock"))


class Control:
    """The gateway's Unix socket: 4 bytes of length, then JSON."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(path)

    def exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                raise Failed("pcgd closed its socket")
            data += more
        return data

    def send(self, op, members):
        doc = json.dumps(dict(members, op=op)).encode()
        self.sock.sendall(struct.pack(">I", len(doc)) + doc)

    def receive(self):
        answer = json.loads(self.exactly(struct.unpack(">I", self.exactly(4))[0]))
        if not answer["ok"]:
            raise Failed(answer["error"]["text"])
        return answer

    def __call__(self, op, **members):
        self.send(op, members)
        return self.receive()["result"]

    def watch(self):
        """From now on only event() is for this connection."""
        self.send("cluster.watch", {})

    def event(self, seconds):
        self.sock.settimeout(seconds)
        return self.receive()["event"]

    def phases(self):
        return self("status")["clusters"]["phases"]
