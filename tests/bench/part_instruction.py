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

SAMPLES, COLD_SAMPLES = 25, 3
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

    first = one()[0]
    settled(lab, control, n)
    workers = process.named(pid, "pcg-account")
    for _ in range(SAMPLES):
        ms, planes = one()
        times.append(ms)
        plane.append(planes)
        settled(lab, control, n)
    if not workers or process.named(pid, "pcg-account") != workers:
        raise gateway.Failed("the account's worker did not run all the time: %s, then %s"
                             % (workers, process.named(pid, "pcg-account")))
    result.figure("worker_private_mib", max(process.private_mib(w) for w in workers))
    cold = []
    for _ in range(COLD_SAMPLES):
        gateway.wait_for("the worker's end", lambda: not process.named(pid, "pcg-account"), 30, 0.1)
        cold.append(one()[0])
        settled(lab, control, n)
    result.figure("instruction_to_call_ms_median", statistics.median(times))
    result.figure("instruction_to_call_ms_max", max(times))
    result.figure("instruction_to_call_cold_ms", statistics.median(cold))
    sync = process.sync_ms(lab.work)
    result.note("%d instructions; the plane's answer to the user came after %.1f ms (median); "
                "very first one %.0f ms; %d without a worker, at most %.0f ms"
                % (len(times), statistics.median(plane), first, len(cold), max(cold)))
    result.note("one sync of this disk takes %.2f ms (median), %.2f at most, and the way of an instruction "
                "holds one" % (statistics.median(sync), max(sync)))
