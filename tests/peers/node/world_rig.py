# SPDX-License-Identifier: Apache-2.0
"""A vCenter whose machines boot for real, in a world of the test's own: for tests in Python.

    world_rig.enter("vmctl")            # builds the peers and goes into the world, or ends with 77
    world = world_rig.World()
    world.start()                       # vcsim and node peer
"""
import base64
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.realpath(__file__))
PEERS = os.path.dirname(HERE)
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "pcg-peers")
GATEWAY = "10.77.0.1"
MACHINES = "10.77.1.0/24"
PASSWORD = "Seeded-Pass-4711"
NODE_PROGRAMS = ("kubeadm", "kubelet", "kubectl")
LIGHT_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-vip")


class Failed(Exception):
    pass


def versioned(name):
    return name + "-1.36.3" if name.startswith("kube") and name != "kube-vip" else name


def enter(*names, mode="full"):
    """Builds the peers NAMES and those of the world, and starts this test again inside a world of its own."""
    if "PCG_WORLD_STATE" in os.environ:
        return
    if os.geteuid():
        print("SKIP: machines of namespaces need root")
        sys.exit(77)
    names = ["node-root", "node-images", "vcsim", *map(versioned, NODE_PROGRAMS), *map(versioned, names)]
    if mode == "light":
        names += map(versioned, LIGHT_PROGRAMS)
    built = subprocess.run([os.path.join(PEERS, "build-peers"), *names], stdout=subprocess.PIPE, text=True)
    paths = built.stdout.split()
    if built.returncode or len(paths) != len(names):
        print("SKIP: a peer is missing, see above: tests/peers/build-peers", *names)
        sys.exit(77)
    state = new_state(os.path.join(CACHE, "worlds"))
    env = dict(os.environ, PCG_WORLD_STATE=state, PCG_WORLD_PEERS=json.dumps(dict(zip(names, paths))),
               PCG_WORLD_MODE=mode, PYTHONDONTWRITEBYTECODE="1")
    os.execve(os.path.join(HERE, "world"), ["world", sys.executable, *sys.argv], env)


def new_state(worlds):
    """A folder that is this test's as long as a process of it lives; pids say nothing where namespaces share a cache."""
    os.makedirs(worlds, exist_ok=True)
    with open(os.path.join(worlds, ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep(worlds)
        state = tempfile.mkdtemp(prefix="world-", dir=worlds)
        held = os.open(state, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
    os.set_inheritable(held, True)  # through the execs; what the test starts does not get it
    return state


def sweep(worlds):
    """Disks of worlds whose test was killed."""
    for name in os.listdir(worlds):
        try:
            folder = os.open(os.path.join(worlds, name), os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            if name.startswith("world-"):
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(os.path.join(worlds, name), ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(folder)


def peer(name):
    return json.loads(os.environ["PCG_WORLD_PEERS"])[versioned(name)]


def wait_for(what, condition, seconds=60, alive=None):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {seconds} s")
        if alive:
            alive()
        time.sleep(0.1)


class World:
    """vcsim and node peer on 10.77.0.1; machines get addresses of 10.77.1.0/24."""

    def __init__(self):
        self.dir = os.environ["PCG_WORLD_STATE"]
        self.mode = os.environ["PCG_WORLD_MODE"]
        self.running = {}
        with open(self.path("password"), "w", opener=lambda p, f: os.open(p, f, 0o600)) as file:
            file.write(PASSWORD + "\n")
        os.makedirs(self.path("tmp"), exist_ok=True)
        self.certificates()

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def read(self, *names):
        with open(self.path(*names), errors="replace") as file:
            return file.read()

    def base64(self, *names):
        with open(self.path(*names), "rb") as file:
            return base64.b64encode(file.read()).decode()

    def certificates(self):
        """One authority, and a certificate for the address that everything listens on."""
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

        def openssl(*args):
            subprocess.run(["openssl", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           cwd=self.dir)
        openssl("req", "-x509", *new, "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")
        openssl("req", *new, "-subj", "/CN=vcsim", "-keyout", "server.key", "-out", "server.csr")
        with open(self.path("server.ext"), "w") as file:
            file.write(f"subjectAltName=IP:{GATEWAY},IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "1",
                "-days", "2", "-extfile", "server.ext", "-out", "server.pem")

    # Processes.

    def spawn(self, name, args, line=False):
        """Starts a program; line: waits for the JSON line that it prints when it is ready."""
        log = open(self.path(name + ".log"), "a")
        process = subprocess.Popen(args, stdout=subprocess.PIPE if line else log, stderr=log, text=True, cwd=self.dir,
                                   env=dict(os.environ, TMPDIR=self.path("tmp")))
        self.running[name] = process
        if not line:
            return process
        text = process.stdout.readline()
        if not text:
            raise Failed(f"{name} does not start: {self.read(name + '.log')[-2000:]}")
        return json.loads(text)

    def end(self, name, how=signal.SIGTERM, seconds=60):
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
            raise Failed(f"{name} did not end in {seconds} s") from None

    def start_nodes(self, *more):
        programs = NODE_PROGRAMS + (LIGHT_PROGRAMS if self.mode == "light" else ())
        self.nodes = self.spawn("node-peer", [
            os.path.join(HERE, "node-peer"), "--listen", GATEWAY + ":0", "--state", self.path("nodes"),
            "--root", peer("node-root"), "--images", peer("node-images"), "--mode", self.mode,
            *(f"--program={name}={peer(name)}" for name in programs), *more], line=True)

    def start_vcsim(self, *more):
        self.vcsim = self.spawn("vcsim", [
            peer("vcsim"), "--listen", GATEWAY + ":0", "--password-file", self.path("password"), "--cert",
            self.path("server.pem"), "--key", self.path("server.key"), "--admin", "127.0.0.1:0", "--watch-kubeapi",
            self.nodes["url"], "--address-range", MACHINES, *more], line=True)

    def start(self):
        self.start_nodes()
        self.start_vcsim()

    def stop(self):
        for name in ("vcsim", "node-peer"):
            try:
                self.end(name)
            except (Failed, OSError) as why:
                print(why)

    def remove(self):
        if os.environ.get("FLOW_KEEP"):
            kept = os.path.join(os.path.dirname(self.dir), "kept-" + os.path.basename(self.dir))
            os.rename(self.dir, kept)
            print("kept:", kept)
        else:
            shutil.rmtree(self.dir)

    # What is there.

    def ask(self, url, method="GET"):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(url, method=method), timeout=60) as answer:
            return json.loads(answer.read())

    def node_list(self):
        return self.ask(self.nodes["url"] + "/v1/nodes")["items"]

    def node(self, ident):
        return next((node for node in self.node_list() if node["id"] == ident), None)

    def admin(self, path, method="GET"):
        return self.ask(self.vcsim["admin"] + path, method)

    def vmctl(self, *args):
        done = subprocess.run([peer("vmctl"), "--url", self.vcsim["url"], "--password-file", self.path("password"),
                               "--ca", self.path("ca.pem"), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True)
        if done.returncode:
            raise Failed(f"vmctl {args[0]}: {done.stderr}")
        return json.loads(done.stdout) if done.stdout else None

    def on_node(self, ident, *command, check=True):
        """Runs a command on a machine, as somebody logged in there would."""
        done = subprocess.run([
            "nsenter", "--target", str(self.node(ident)["pid"]), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
            "--root", "--wd=/", "env", "-i", "HOME=/root", "TERM=dumb",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *command],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if check and done.returncode:
            raise Failed(f"{' '.join(command)} on {ident}: status {done.returncode}: {done.stdout[-1000:]}")
        return done.stdout

    def kubectl(self, kubeconfig, *args, check=True, text=None):
        done = subprocess.run([peer("kubectl"), "--kubeconfig", kubeconfig, "--request-timeout=10s", *args], input=text,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if check and done.returncode:
            raise Failed(f"kubectl {' '.join(args)}: {done.stderr}")
        return done.stdout

    def show_logs(self, lines=40):
        """Why machines are not what they should be: the ends of their logs."""
        logs = [self.path(name + ".log") for name in ("node-peer", "vcsim")]
        for base, _, names in os.walk(self.path("nodes")):
            if base.endswith("/upper/var/log") or os.path.dirname(base) == self.path("nodes", "logs"):
                logs += [os.path.join(base, name) for name in sorted(names) if name.endswith(".log")]
            elif "console.log" in names:
                logs.append(os.path.join(base, "console.log"))
        for log in logs:
            if os.path.isfile(log):
                with open(log, errors="replace") as file:
                    tail = [line for line in file if "[DEBUG]" not in line and "CONFIG_" not in line][-lines:]
                print(f"--- {os.path.relpath(log, self.dir)}\n{''.join(line[:400] for line in tail)}", flush=True)


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

    def run(self, world, run):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        try:
            run(world)
        except Failed as why:
            self.check("all_ends_in_time", False, why)
        finally:
            if self.failed:
                world.show_logs()
            world.stop()
            left = left_over()
            world.remove()
        self.check("nothing_is_left_of_machines", not left, left)
        print(f"{self.passed} passed, {self.failed} failed, 0 skipped")
        sys.exit(1 if self.failed else 0)


def left_over():
    """Processes, mounts, cables and cgroups of machines in this world."""
    def found():
        left = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cgroup") as file:
                    if "/node-" in file.read():
                        with open(f"/proc/{pid}/cmdline") as cmdline:
                            left.append(f"process {pid} {cmdline.read()[:60]!r}")
            except OSError:
                pass
        with open("/proc/self/mountinfo") as file:
            left += ["mount " + line.split()[4] for line in file if "/worlds/" in line.split()[4]]
        links = json.loads(subprocess.run(["ip", "-json", "link"], stdout=subprocess.PIPE, text=True).stdout)
        left += ["link " + link["ifname"] for link in links if link["ifname"] not in ("lo", "br0")]
        with open("/proc/self/cgroup") as file:
            own = file.readline().rstrip().split(":")[2]
        for base, folders, _ in os.walk("/sys/fs/cgroup"):
            if base.endswith(own):
                left += [f"cgroup {base}/{name}" for name in folders if name.startswith("node-")]
        return left
    end = time.monotonic() + 5
    while found() and time.monotonic() < end:
        time.sleep(0.1)
    return found()
