# SPDX-License-Identifier: Apache-2.0
"""pcgd paired and idle: private memory, and how often it wakes up in a minute. The long poll is
part of it."""
import time

import gateway
import process
import table

SETTLE_S, WATCH_S = 3, 60


def run(args, work):
    result = table.Result()
    with gateway.Lab(args, work, sim=False) as lab:
        pid = lab.gateway_process.pid
        time.sleep(SETTLE_S)
        before = process.wakeups(pid)
        time.sleep(WATCH_S)
        woken = process.wakeups(pid) - before
        result.figure("idle_private_mib", process.private_mib(pid))
        result.figure("idle_wakeups_per_min", woken * 60 / WATCH_S)
    return result
