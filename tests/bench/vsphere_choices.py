# SPDX-License-Identifier: Apache-2.0
"""vsphere_choices.py BUILD OUT: the part choices, started again inside a network namespace. A vCenter of 10,000 templates:
its account is validated, and they are listed by the plane's pages of 500."""
import json
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "flows"))
from vsphere_rig import Rig, inside_namespace  # noqa: E402

OBJECTS = 10000


def rss_mib(pid, peak):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        for line in f:
            if line.startswith("VmHWM:" if peak else "VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0


def worker(rig):
    for plugin in json.loads(rig.pcgctl("--output", "json", "plugin", "list").stdout)["items"]:
        for account in plugin["accounts"]:
            if account.get("pid"):
                return account["pid"]
    raise RuntimeError("there is no worker")


def every(rig, account, limit):
    base, token, found = f"/v1/pcg/{rig.overlord}/picklists/templates?accountUid={account}&limit={limit}", "", 0
    while True:
        page = rig.api("GET", base + "&continue=" + token)
        found += len(page["items"])
        token = page["listmeta"]["continue"]
        if not token:
            return found


def main():
    rig = Rig(sys.argv[1], inside_namespace())
    figures, notes = {}, []
    try:
        rig.start("--model", f"vm={OBJECTS},templates={OBJECTS}")
        account = rig.add_account()
        times = []
        for _ in range(5):
            began = time.monotonic()
            status, answer = rig.api_raw("POST", f"/v1/overlords/vsphere/{rig.overlord}/account/validate",
                                         {"account": rig.account_spec()})
            times.append((time.monotonic() - began) * 1000)
            if status != 204:
                raise RuntimeError(answer)
        figures["vsphere_validate_ms"] = statistics.median(times)
        rig.admin("/reset", "POST")
        rig.api("GET", f"/v1/pcg/{rig.overlord}/picklists/datacenters?accountUid={account}")
        before = rss_mib(worker(rig), False)
        began = time.monotonic()
        found = every(rig, account, 500)
        figures["vsphere_picklist_10000_ms"] = (time.monotonic() - began) * 1000
        if found < OBJECTS:
            raise RuntimeError(f"{found} of {OBJECTS} were listed")
        figures["vsphere_picklist_10000_rss_mib"] = rss_mib(worker(rig), True)
        notes.append("the worker had %.1f MiB before the list, %.1f MiB at its peak; pcgd %.1f, plane %.1f at theirs" % (
            before, figures["vsphere_picklist_10000_rss_mib"], rss_mib(rig.running["pcgd"].pid, True),
            rss_mib(rig.running["plane"].pid, True)))
        methods = rig.admin("/calls")["sinceReset"]["method"]
        notes.append("calls of both lists: " + ", ".join("%s %d" % item for item in sorted(methods.items())))
    finally:
        rig.stop()
        rig.remove()
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        json.dump({"figures": figures, "notes": notes}, out)


main()
