# SPDX-License-Identifier: Apache-2.0
"""Many clusters of one machine at once on the simulated cloud, created and deleted. The load comes
from one curl with kept connections, so that it takes little of the processors."""
import json
import os
import shutil
import subprocess
import threading
import time

import gateway
import process
import table

CALL_MS, TASK_MS, CONNECTIONS = 5, 100, 64
CHAIN_MS = 7 * CALL_MS + 2 * TASK_MS  # plugins/sim/README.md, "Shortest chain"
LOAD_CONNECTIONS = 8
# The waits of the stand-in Kubernetes are not the gateway's: as short as they can be.
STAND_IN = {"crd_ms": 1, "pods_ms": 1, "controllers_ms": 1}


class Load:
    """Requests at the plane by curl: [(method, path, body file)]."""

    def __init__(self, lab, name, requests):
        self.out = lab.path(name + ".out")
        os.makedirs(self.out)
        lines = []
        for i, (method, path, body) in enumerate(requests):
            lines += ["next"] if i else []
            lines += ['url = "%s%s"' % (lab.plane_url, path), 'request = "%s"' % method,
                      'header = "ApiKey: %s"' % lab.plane_key, 'cacert = "%s"' % lab.plane_ca,
                      'header = "Content-Type: application/json"', "silent", "fail-with-body",
                      'output = "%s/%d"' % (self.out, i)]
            lines += ['data = "@%s"' % body] if body else []
        self.config = lab.path(name + ".curl")
        gateway.write(self.config, "\n".join(lines) + "\n")

    def start(self):
        self.child = subprocess.Popen(["curl", "-Z", "--parallel-max", str(LOAD_CONNECTIONS), "-K",
                                       self.config], stderr=subprocess.DEVNULL)

    def end(self):
        if self.child.wait(120):
            raise gateway.Failed("curl ended with %d; see %s" % (self.child.returncode, self.out))

    def answers(self):
        for i in sorted(os.listdir(self.out), key=int):
            with open(os.path.join(self.out, i), encoding="utf-8") as f:
                yield json.load(f)


def wait_phase(control, phase, n, seconds=300):
    """Watches: asking again and again would be part of what is measured."""
    there, end = set(), time.monotonic() + seconds
    try:
        while len(there) < n:
            view = control.event(max(end - time.monotonic(), 0.01))
            if view["phase"] == phase:
                there.add(view["uid"])
    except TimeoutError:
        raise gateway.Failed("%d of %d clusters %s within %d s"
                             % (len(there), n, phase, seconds)) from None
    return time.monotonic()


class Times:
    """Processor time by part, workers that come and go included."""

    def __init__(self, pid):
        self.pid, self.threads, self.workers, self.ending = pid, {}, {}, False
        self.base = process.thread_ms(pid)
        self.base_workers = {w: process.cpu_ms(w) for w in process.children(pid)}
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def look(self):
        self.threads.update(process.thread_ms(self.pid))
        for worker in process.children(self.pid):
            try:
                self.workers[worker] = (process.name(worker), process.cpu_ms(worker))
            except (FileNotFoundError, ProcessLookupError):
                pass

    def watch(self):
        while not self.ending:
            self.look()
            time.sleep(0.2)

    def parts(self):
        self.ending = True
        self.thread.join()
        self.look()
        out = {"keys": 0.0, "store": 0.0, "policy": 0.0, "wire": 0.0, "account": 0.0}
        for tid, (name, ms) in self.threads.items():
            ms -= self.base.get(tid, ("", 0.0))[1]
            part = "wire" if tid == self.pid else "store" if name == "pcg-store" else "keys"
            out[part] += ms
        for pid, (name, ms) in self.workers.items():
            ms -= self.base_workers.get(pid, 0.0)
            out["policy" if name == "pcg-policy" else "account"] += ms
        return out


def run(args, work):
    if not shutil.which("curl"):
        raise gateway.Missing("curl makes the load; on Debian: apt-get install curl")
    result = table.Result()
    settings = "limits = { account_connections = %d; };" % CONNECTIONS
    with gateway.Lab(args, work, settings=settings) as lab:
        lab.sim("PUT", "/v1/settings", dict(STAND_IN, call_ms=CALL_MS, task_ms=TASK_MS))
        measure(lab, args, result)
    return result


def measure(lab, args, result):
    n, requests = args.clusters, []
    account, profile = lab.add_account(lab.sim_url), lab.add_profile()
    control, pid = lab.control(), lab.gateway_process.pid
    for i in range(n):
        body = lab.path("request-%d.json" % i)
        gateway.write(body, json.dumps(lab.cluster_request("b%d" % i, account, profile)))
        requests.append(("POST", "/v1/spectroclusters/sim", body))
    create = Load(lab, "create", requests)
    others = {p.pid: process.cpu_ms(p.pid) for p in (lab.plane_process, lab.sim_process)}
    times = Times(pid)

    control.watch()
    begin = time.monotonic()
    create.start()
    created = wait_phase(control, "Running", n) - begin
    create.end()
    workers = process.named(pid, "pcg-account")
    uids = [answer["uid"] for answer in create.answers()]
    delete = Load(lab, "delete", [("DELETE", "/v1/spectroclusters/" + u, None) for u in uids])
    middle = time.monotonic()
    delete.start()
    deleted = wait_phase(control, "Deleted", n) - middle
    delete.end()
    parts = times.parts()

    stats = lab.sim("GET", "/v1/stats")
    if stats["machines"] or stats["clusters"] or stats["machinesMade"] != n:
        raise gateway.Failed("left over or made twice: %s" % json.dumps(stats))
    result.figure("sim%d_chain_ratio" % n, (created + deleted) * 1000 / CHAIN_MS)
    result.figure("sim%d_chain_ms" % n, (created + deleted) * 1000)
    result.figure("sim%d_host_rss_mib" % n, process.peak_rss_mib(pid))
    result.figure("sim%d_cpu_ms_per_cluster" % n, sum(parts.values()) / n)
    for name, ms in parts.items():
        result.note("of it %-8s %8.2f ms a cluster%s" % (name, ms / n, {
            "keys": " (thread pool: keys)",
            "wire": " (loop: plane, Kubernetes APIs, lifecycle)",
            "account": " (the account's worker: the infrastructure's API)"}.get(name, "")))
    result.note("shortest chain %d ms; created in %.0f ms, deleted in %.0f ms; %d kube calls"
                % (CHAIN_MS, created * 1000, deleted * 1000, stats["kubeCalls"]))
    result.note("others' processor time a cluster: plane %.1f ms, simulated cloud %.1f ms; "
                "%d processors" % tuple([(process.cpu_ms(p) - before) / n for p, before
                                         in others.items()] + [os.cpu_count()]))
    result.note("stand-in's own waits: %s" % json.dumps(STAND_IN))
    if workers:
        result.note("the account's worker: %.1f MiB private" % process.private_mib(workers[0]))
