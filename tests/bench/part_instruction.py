# SPDX-License-Identifier: Apache-2.0
"""From an instruction to the first call at the infrastructure: a cluster is asked for at the plane,
a relay before the infrastructure's API sees the first call about it arrive. The clock starts
before the request leaves this client, so the plane's part is in it."""
import statistics
import time

import gateway
import process
import table
import tap

SAMPLES = 25
SETTINGS = "worker = { idle_s = 4; };"


def first_call_ms(lab, relay, request):
    begin = time.monotonic()
    lab.plane("POST", "/v1/spectroclusters/sim", request)
    answered = time.monotonic()
    at = gateway.wait_for("a call for %s" % request["metadata"]["name"],
                          lambda: relay.first_since(begin, b"GET /v1/wait"), 20, 0.005)
    return (at - begin) * 1000, (answered - begin) * 1000


def settled(lab, control, n):
    gateway.wait_for("cluster %d" % n, lambda: control.phases().get("Running", 0) == n, 30)


def run(args, work):
    result = table.Result()
    with gateway.Lab(args, work, settings=SETTINGS) as lab:
        lab.sim("PUT", "/v1/settings", {"crd_ms": 1, "pods_ms": 1, "controllers_ms": 1})
        relay = tap.Tap(lab.sim_url)
        try:
            measure(lab, relay, result)
        finally:
            relay.close()
    return result


def measure(lab, relay, result):
    account, profile = lab.add_account(relay.url), lab.add_profile()
    control, pid = lab.control(), lab.gateway_process.pid
    times, plane, n = [], [], 0

    def one():
        nonlocal n
        n += 1
        return first_call_ms(lab, relay, lab.cluster_request("i%d" % n, account, profile))

    cold = one()[0]
    settled(lab, control, n)
    for _ in range(SAMPLES):
        ms, planes = one()
        times.append(ms)
        plane.append(planes)
        settled(lab, control, n)
    workers = process.named(pid, "pcg-account")
    if workers:
        result.figure("worker_private_mib", max(process.private_mib(w) for w in workers))
    gateway.wait_for("the worker's end", lambda: not process.named(pid, "pcg-account"), 30, 0.1)
    cold_again = one()[0]
    result.figure("instruction_to_call_ms_median", statistics.median(times))
    result.figure("instruction_to_call_ms_max", max(times))
    result.figure("instruction_to_call_cold_ms", cold_again)
    result.note("%d instructions; the plane's answer to the user took %.1f ms (median) of it; "
                "very first one %.0f ms" % (len(times), statistics.median(plane), cold))
