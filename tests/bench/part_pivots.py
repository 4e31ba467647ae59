# SPDX-License-Identifier: Apache-2.0
"""Many hand-overs at the same time, into the stand-in Kubernetes of the simulated cloud: memory of the gateway.
Its API answers late, so that each hand-over is still going on when the last one has begun."""
import json
import time

import gateway
import process
import table

CLUSTERS = 50
SETTINGS = {"crd_ms": 1, "pods_ms": 1, "controllers_ms": 1, "boot_ms": 2000, "kube_call_ms": 150}


def watch(control, n, seconds=300):
    """Until all run: how many were handed over at the same time, at most."""
    pivoting, running, most, end = set(), set(), 0, time.monotonic() + seconds
    try:
        while len(running) < n:
            view = control.event(max(end - time.monotonic(), 0.01))
            if view["phase"] == "Pivoting":
                pivoting.add(view["uid"])
            else:
                pivoting.discard(view["uid"])
            if view["phase"] == "Running":
                running.add(view["uid"])
            most = max(most, len(pivoting))
    except TimeoutError:
        raise gateway.Failed("%d of %d clusters Running within %d s" % (len(running), n, seconds)) from None
    return most


def run(args, work):
    result = table.Result()
    with gateway.Lab(args, work) as lab:
        lab.sim("PUT", "/v1/settings", SETTINGS)
        account, profile = lab.add_account(lab.sim_url), lab.add_profile()
        control, pid = lab.control(), lab.gateway_process.pid
        before = process.peak_rss_mib(pid)
        control.watch()
        for i in range(CLUSTERS):
            lab.plane("POST", "/v1/spectroclusters/sim", lab.cluster_request("p%d" % i, account, profile))
        most = watch(control, CLUSTERS)
        peak = process.peak_rss_mib(pid)
        stats = lab.sim("GET", "/v1/stats")
        if most < CLUSTERS:
            raise gateway.Failed("only %d of %d hand-overs went on at the same time" % (most, CLUSTERS))
        result.figure("pivot%d_host_rss_mib" % CLUSTERS, peak)
        result.note("%d hand-overs at the same time; %.1f MiB before the first cluster; %d kube calls, %s"
                    % (most, before, stats["kubeCalls"], json.dumps(SETTINGS)))
    return result
