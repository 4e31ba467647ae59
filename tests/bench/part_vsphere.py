# SPDX-License-Identifier: Apache-2.0
"""Clusters of one machine on govmomi's simulator: SOAP calls for a machine created and deleted, and
the time to a powered-on machine with an address. Runs in a network namespace of its own."""
import json
import os
import shutil
import subprocess
import sys

import gateway
import table

HERE = os.path.dirname(os.path.realpath(__file__))


def run(args, work):
    return inside(args, work, "vsphere_inside.py")


def inside(args, work, program):
    """Starts the program in a network namespace; its figures and notes."""
    if not shutil.which("unshare"):
        raise gateway.Missing("unshare makes the network namespace; on Debian: apt-get install util-linux")
    if not os.path.exists(os.path.join(args.build, ".libs", "libpcg-vsphere.so")):
        raise gateway.Missing("libpcg-vsphere.so is not built")
    out = os.path.join(work, "figures.json")
    log = os.path.join(work, "log")
    with open(log, "wb") as f:
        done = subprocess.run([sys.executable, os.path.join(HERE, program), args.build, out],
                              stdout=f, stderr=f, timeout=1800, check=False)
    if done.returncode:
        raise gateway.Failed(gateway.read(log)[-1500:])
    measured = json.loads(gateway.read(out))
    result = table.Result()
    for key, value in measured["figures"].items():
        result.figure(key, value)
    for text in measured["notes"]:
        result.note(text)
    clones(args, result)
    return result


def clones(args, result):
    """200 machines of one cluster by the provider alone, and by a bare loop of clones just before."""
    program = os.path.join(args.build, "tests", "plugins", "vsphere", "drive_clones")
    if not os.path.exists(program):
        raise gateway.Missing("tests/plugins/vsphere/drive_clones is not built")
    done = subprocess.run([program, "200"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=600, check=False, text=True)
    if done.returncode:
        raise gateway.Failed(done.stdout[-1500:])
    measured = json.loads(done.stdout.strip().splitlines()[-1])
    for key, name in (("vsphere_200_clone_ratio", "ratio"), ("vsphere_200_worker_rss_mib", "worker_rss_mib"),
                      ("vsphere_kib_per_machine_200", "kib"), ("vsphere_worker_cpu_ms_per_machine_200", "worker_cpu_ms")):
        result.figure(key, measured[name])
    result.note("200 at once by the provider alone: %.0f ms, a bare loop of clones %.0f ms; %.2f calls a machine" %
                (measured["ours_ms"], measured["bare_ms"], measured["calls"]))
