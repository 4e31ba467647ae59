# SPDX-License-Identifier: Apache-2.0
"""All programs against govmomi's simulator, in a network namespace of the test's own."""
import http.client
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.realpath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
PASSWORD = "Seeded-Pass-4711"
TOKEN = "Seeded-Token-0815"
SECRETS = [PASSWORD, TOKEN]
USER = "administrator@vsphere.local"
TEMPLATE = "/DC0/vm/templates/ubuntu-2404-kube-v1.36.3"
CNI = json.dumps({
    "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "cni", "namespace": "kube-system"},
    "spec": {"selector": {"matchLabels": {"app": "cni"}},
             "template": {"metadata": {"labels": {"app": "cni"}},
                          "spec": {"hostNetwork": True, "tolerations": [{"operator": "Exists"}],
                                   "containers": [{"name": "cni", "image": "cni:1"}]}}}})


class Failed(Exception):
    pass


def inside_namespace():
    """Builds the peers, then starts this test again where 10.77.0.0/23 and 10.78.0.1 to .250 are this machine:
    addresses of machines, and control plane endpoints."""
    if "PCG_TEST_INSIDE" in os.environ:
        return {name: os.environ["PCG_PEER_" + name.upper()] for name in ("vcsim", "vmread", "vmctl")}
    env = dict(os.environ, PCG_TEST_INSIDE="1", PYTHONDONTWRITEBYTECODE="1")
    for name in ("vcsim", "vmread", "vmctl"):
        path = subprocess.run([os.path.join(SOURCE, "tests/peers/build-peers"), name], stdout=subprocess.PIPE,
                              text=True, check=True).stdout.strip()
        env["PCG_PEER_" + name.upper()] = path
    # Root needs no user namespace, and in a chroot gets none.
    how = "-n" if os.geteuid() == 0 else "-rn"
    if subprocess.run(["unshare", how, "true"], stderr=subprocess.DEVNULL).returncode:
        print(f"SKIP: no network namespace of its own (unshare {how})")
        sys.exit(77)
    script = ("ip link set lo up && ip route add local 10.77.0.0/23 dev lo && "
              "seq -f 'addr add 10.78.0.%.0f/32 dev lo' 1 250 | ip -batch - && exec \"$@\"")
    os.execvpe("unshare", ["unshare", how, "sh", "-c", script, "sh", sys.executable, *sys.argv], env)


def wait_for(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def ask(url, method="GET", body=None, token=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": "Bearer " + token} if token else {}
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None


class Rig:
    release_s = 300
    take_back_s = 10

    def __init__(self, build, peers):
        self.build = os.path.realpath(build)
        self.peers = peers
        self.dir = tempfile.mkdtemp(prefix="pcg-vs-")
        self.running = {}
        self.faults = None
        self.plane_port = 0
        for name in ("plugins", "policy.d", "tmp"):
            os.mkdir(self.path(name))
        for name in ("vsphere", "sim"):
            shutil.copy(os.path.join(self.build, f".libs/libpcg-{name}.so"), self.path("plugins"))
            os.chmod(self.path("plugins", f"libpcg-{name}.so"), 0o755)
        self.write("token", TOKEN)
        self.write("password", PASSWORD)
        shutil.copytree(os.path.join(SOURCE, "bundles/sim"), self.path("bundle"))
        infra = self.path("bundle", "infrastructure-vsphere", "v1.17.0")
        os.makedirs(infra)
        shutil.copy(os.path.join(SOURCE, "tests/peers/bundle-vsphere/infrastructure-components.yaml"), infra)
        self.certificates()

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def write(self, name, text):
        with open(self.path(name), "w", opener=lambda p, f: os.open(p, f, 0o600)) as file:
            file.write(text + "\n")

    def read(self, *names):
        with open(self.path(*names), errors="replace") as file:
            return file.read()

    def openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.dir)

    def certificates(self):
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        for name in ("ca", "other"):
            self.openssl("req", "-x509", *new, "-days", "2", "-subj", "/CN=" + name, "-keyout", name + ".key",
                         "-out", name + ".pem")
        self.openssl("req", *new, "-subj", "/CN=vcsim", "-keyout", "server.key", "-out", "server.csr")
        self.write("server.ext", "subjectAltName=IP:127.0.0.1")
        self.openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "1",
                     "-days", "2", "-extfile", "server.ext", "-out", "server.pem")

    # Processes.

    def spawn(self, name, args, given=None, **more):
        log = open(self.path(name + ".log"), "a")
        environment = dict(os.environ, TMPDIR=self.path("tmp"), **(given or {}))
        if self.faults:
            environment["PCG_FAULT_DIR"] = self.faults
        self.running[name] = subprocess.Popen(args, stderr=log, env=environment, cwd=self.dir,
                                              **{"stdout": log, **more})
        return self.running[name]

    def program(self, name):
        return os.path.join(self.build, name)

    def end(self, name, how=signal.SIGTERM, seconds=20):
        process = self.running.pop(name, None)
        if not process:
            return None
        if process.poll() is None:
            process.send_signal(how)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Failed(f"{name} did not end in {seconds} s after signal {how}") from None

    def start_infrastructure(self, *vcsim_args):
        self.spawn("simcloud", [self.program("pcg-simcloud"), "--state", self.path("sim"), "--listen", "127.0.0.1:0",
                                "--token-file", self.path("token"), "--ready-file", self.path("sim.ready")])
        wait_for("the simulated cloud starts", lambda: os.path.exists(self.path("sim.ready")))
        self.sim_url = json.loads(self.read("sim.ready"))["url"]
        self.vcsim_args = vcsim_args
        self.vcsim = self.start_vcsim("vcsim", *vcsim_args)

    def start_vcsim(self, name, *args):
        """A vCenter more; what it says of itself."""
        process = self.spawn(
            name, [self.peers["vcsim"], "--password-file", self.path("password"), "--cert", self.path("server.pem"),
                   "--key", self.path("server.key"), "--admin", "127.0.0.1:0", "--watch-kubeapi", self.sim_url,
                   "--watch-token-file", self.path("token"), *args], stdout=subprocess.PIPE, text=True)
        line = process.stdout.readline()
        if not line:
            raise Failed(f"{name} does not start: " + self.read(name + ".log"))
        return json.loads(line)

    def restart_vcsim(self, seconds):
        """Gone for so long, its machines with it, and back at the same address with nothing of what it knew."""
        machines = [item["id"] for item in self.admin("/kubeapis")["items"] if item["served"]]
        self.end("vcsim", signal.SIGKILL)
        for machine in machines:
            ask(self.sim_url + "/v1/kubeapis/" + machine, "DELETE", token=TOKEN)
        time.sleep(seconds)
        self.vcsim = self.start_vcsim("vcsim", *self.vcsim_args, "--listen",
                                      f"{self.vcsim['host']}:{self.vcsim['port']}")

    def start_plane(self):
        ready = self.path("plane.ready")
        if os.path.exists(ready):
            os.unlink(ready)
        self.spawn("plane", [self.program("pcg-plane"), "--state", self.path("plane"), "--listen",
                             f"127.0.0.1:{self.plane_port}", "--ready-file", ready])
        wait_for("the plane starts", lambda: os.path.exists(ready))
        self.plane_url = self.read("plane", "url").strip()
        self.plane_port = int(self.plane_url.rsplit(":", 1)[1].strip("/"))
        self.key = self.read("plane", "api-key").strip()
        self.context = ssl.create_default_context(cafile=self.path("plane", "ca.crt"))

    def settings(self):
        return f'''
state_dir = "{self.path('pcgd')}"; plugins_dir = "{self.path('plugins')}"; policy_dir = "{self.path('policy.d')}";
bundle_dir = "{self.path('bundle')}"; log_level = "debug";
limits = {{ take_back_s = {self.take_back_s}; release_s = {self.release_s}; }};
worker = {{ idle_s = {getattr(self, 'idle_s', 60)}; }};
plane = {{ url = "{self.plane_url}"; ca_file = "{self.path('plane', 'ca.crt')}"; }};'''

    def pair(self):
        code = self.api("GET", "/v1/overlords/pairing/code?cloudType=vsphere")["pairingCode"]
        self.write("code", code)
        self.write("pcgd.conf", self.settings())
        done = subprocess.run([self.program("pcgd"), "--config", self.path("pcgd.conf"), "--pair", self.path("code")],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise Failed(f"pairing: {done.stdout}")

    def start_gateway(self, **environment):
        self.spawn("pcgd", [self.program("pcgd"), "--config", self.path("pcgd.conf")], environment)

    def keep_alive(self):
        """pcgd again when a fault point killed it; it may never end by itself."""
        process = self.running["pcgd"]
        if process.poll() is not None:
            if process.returncode != -signal.SIGKILL:
                raise Failed(f"pcgd ended with {process.returncode}")
            self.start_gateway()

    def start(self, *vcsim_args):
        self.start_infrastructure(*vcsim_args)
        self.start_plane()
        self.pair()
        self.start_gateway()
        self.overlord = wait_for("the gateway is connected", self.connected)

    def connected(self):
        items = self.api("GET", "/v1/overlords")["items"]
        return items and items[0]["status"]["state"] == "Running" and items[0]["metadata"]["uid"]

    def stop(self):
        for name in ("pcgd", "plane", *[n for n in self.running if n.startswith("vcsim")], "simcloud"):
            try:
                self.end(name)
            except (Failed, OSError) as why:
                print(why)

    def remove(self):
        shutil.rmtree(self.dir)

    # The plane.

    def api_raw(self, method, path, body=None):
        connection = http.client.HTTPSConnection("127.0.0.1", self.plane_port, timeout=60, context=self.context)
        try:
            connection.request(method, path, None if body is None else json.dumps(body),
                               {"Content-Type": "application/json", "ApiKey": self.key})
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        finally:
            connection.close()

    def text(self, path):
        """What is no JSON, a kubeconfig."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.plane_port, timeout=60, context=self.context)
        try:
            connection.request("GET", path, headers={"ApiKey": self.key})
            answer = connection.getresponse()
            return answer.read().decode()
        finally:
            connection.close()

    def api(self, method, path, body=None):
        status, answer = self.api_raw(method, path, body)
        if status // 100 != 2:
            raise Failed(f"{method} {path}: {status} {answer}")
        return answer

    def account_spec(self, vcsim=None, **changes):
        vcsim = vcsim or self.vcsim
        spec = {"vcenterServer": f"{vcsim['host']}:{vcsim['port']}", "username": USER, "password": PASSWORD,
                "insecure": False, "caCert": self.read("ca.pem"), "imageTemplate": TEMPLATE}
        spec.update(changes)
        return {key: value for key, value in spec.items() if value is not None}

    def add_account(self, name="lab", **changes):
        return self.api("POST", "/v1/cloudaccounts/vsphere", {
            "metadata": {"name": name, "annotations": {"overlordUid": self.overlord}},
            "spec": self.account_spec(**changes)})["uid"]

    def add_profile(self):
        uid = self.api("POST", "/v1/clusterprofiles", {
            "metadata": {"name": "base"},
            "spec": {"version": "1.0.0", "template": {"cloudType": "vsphere", "type": "cluster", "packs": [
                {"name": "kubernetes", "tag": "1.36.3", "type": "spectro", "layer": "k8s", "values": ""},
                {"name": "flannel", "type": "manifest", "layer": "cni", "manifests": [{"name": "cni", "content": CNI}]},
            ]}}})["uid"]
        self.api("PATCH", f"/v1/clusterprofiles/{uid}/publish")
        return uid

    def cluster_body(self, name, account, profile, number):
        placement = {"cluster": "DC0_C0", "datastore": "LocalDS_0", "network": {"networkName": "DC0_DVPG0"}}
        return {
            "metadata": {"name": name},
            "spec": {"cloudAccountUid": account, "profiles": [{"uid": profile}],
                     "cloudConfig": {"placement": {"datacenter": "DC0", "folder": "vm"},
                                     "sshKeys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB one"],
                                     "ntpServers": ["192.0.2.123"],
                                     "controlPlaneEndpoint": {"type": "VIP", "host": f"10.78.0.{number}"}},
                     "machinepoolconfig": [{
                         "cloudConfig": {"instanceType": {"numCPUs": 4, "memoryMiB": 6144, "diskGiB": 40},
                                         "placements": [placement]},
                         "poolConfig": {"name": "cp", "size": 1, "isControlPlane": True,
                                        "labels": ["control-plane"]}}]}}

    def create(self, body):
        return self.api("POST", "/v1/spectroclusters/vsphere", body)["uid"]

    def delete(self, uid):
        self.api("DELETE", f"/v1/spectroclusters/{uid}")

    # What the gateway says.

    def pcgctl(self, *args):
        environment = dict(os.environ, PCG_SOCKET=self.path("pcgd", "pcgd.sock"))
        return subprocess.run([self.program("pcgctl"), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, env=environment, timeout=60)

    def clusters(self):
        """{name: cluster} as pcgctl shows them; None while pcgd does not answer."""
        done = self.pcgctl("cluster", "list", "--output", "json")
        if done.returncode:
            return None
        return {item["name"]: item for item in json.loads(done.stdout)["items"]}

    def until_phase(self, names, phase, seconds=60, alive=None):
        """phase "gone": not in the list any more."""
        last = None

        def there():
            nonlocal last
            if alive:
                alive()
            shown = self.clusters()
            if shown is None:
                return False
            last = shown
            if phase == "gone":
                return not any(name in shown and shown[name]["phase"] != "Deleted" for name in names)
            return all(name in shown and shown[name]["phase"] == phase for name in names)

        try:
            wait_for(f"{len(names)} clusters {phase}", there, seconds)
        except Failed as why:
            left = {n: [c["phase"], c["conditions"]] for n, c in (last or {}).items() if n in names}
            raise Failed(f"{why}: {json.dumps(left, indent=1)[:3000]}") from None

    # What is there.

    def machines(self, vcsim=None):
        done = subprocess.run([self.peers["vmread"], "--url", (vcsim or self.vcsim)["url"], "--password-file",
                               self.path("password"), "--ca", self.path("ca.pem")], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Failed("vmread: " + done.stderr)
        seen = json.loads(done.stdout)
        return [m for m in seen["items"] if not m["template"]], seen["folders"]

    def make_tags(self, *tags):
        subprocess.run([self.peers["vmctl"], "--url", self.vcsim["url"], "--password-file", self.path("password"), "--ca",
                        self.path("ca.pem"), "make-tags", *tags], stdout=subprocess.DEVNULL, check=True)

    def admin(self, path, method="GET", body=None, vcsim=None):
        return ask((vcsim or self.vcsim)["admin"] + path, method, body)

    def sim_stats(self):
        return ask(self.sim_url + "/v1/stats", token=TOKEN)

    def secrets_in_logs(self):
        """Seeded secrets in what the programs wrote for people."""
        found = []
        for name in os.listdir(self.dir):
            if name.endswith(".log"):
                text = self.read(name)
                found += [(name, secret) for secret in SECRETS if secret in text]
                if re.search(r"PRIVATE KEY", text):
                    found.append((name, "a private key"))
        return found


class Tests:
    """Prints what passed; the last line counts."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, ok, why=""):
        if ok:
            self.passed += 1
            print(f"ok   {name}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL {name}: {why}", flush=True)
        return ok

    def run(self, run, build, fault=False):
        """run(rig) with all that it starts ended afterwards. fault: it needs a build with fault points."""
        build = build or os.environ.get("PCG_BUILD", ".")
        if not os.path.exists(os.path.join(build, "config.h")):
            sys.exit(f"{build} is no build folder: name one, or set PCG_BUILD")
        with open(os.path.join(build, "config.h")) as config:
            if fault and "#define PCG_FAULT_POINTS 1" not in config.read():
                print("SKIP: needs a build with --enable-fault-points")
                sys.exit(77)
        peers = inside_namespace()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        rig = Rig(build, peers)
        try:
            run(rig)
        except Failed as why:
            self.check("all_ends_in_time", False, why)
            print(rig.read("pcgd.log")[-3000:])
        finally:
            rig.stop()
            found = rig.secrets_in_logs()
            if not os.environ.get("FLOW_KEEP"):
                rig.remove()
        self.check("no_secret_is_in_a_log", not found, found)
        self.end()

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed, 0 skipped")
        sys.exit(1 if self.failed else 0)
