# SPDX-License-Identifier: Apache-2.0
"""vsphere_inside.py BUILD OUT: the part vsphere, started again inside a network namespace."""
import json
import os
import statistics
import sys
from datetime import datetime

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "flows"))
from vsphere_rig import Rig, ask, inside_namespace, TOKEN  # noqa: E402


def moment(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000


def machine_ms(rig, name):
    """From the instruction to the machine with an address, as the history tells."""
    at = {}
    for item in json.loads(rig.pcgctl("cluster", "history", name, "--output", "json").stdout)["items"]:
        at.setdefault(item["event"], moment(item["at"]))
    return at["machine_created"] - at["instructed"]


def calls(rig, what, account, profile, count):
    """SOAP calls a machine of count clusters, created and deleted; and the names."""
    names = ["%s-%d" % (what, i) for i in range(count)]
    rig.admin("/reset", "POST")
    uids = [rig.create(rig.cluster_body(name, account, profile, i + 1)) for i, name in enumerate(names)]
    rig.until_phase(names, "Running", 500)
    ms = [machine_ms(rig, name) for name in names]
    for uid in uids:
        rig.delete(uid)
    rig.until_phase(names, "gone", 500)
    seen = rig.admin("/calls")
    return seen["sinceReset"]["total"] / count, ms, seen


def main():
    rig = Rig(sys.argv[1], inside_namespace())
    figures, notes = {}, []
    try:
        rig.start()
        ask(rig.sim_url + "/v1/settings", "PUT", {"crd_ms": 1, "pods_ms": 1, "controllers_ms": 1}, TOKEN)
        account, profile = rig.add_account(), rig.add_profile()
        calls(rig, "first", account, profile, 1)  # the login, and what is asked once an account
        figures["vsphere_calls_per_machine_1"], ms, _ = calls(rig, "one", account, profile, 1)
        figures["vsphere_one_machine_ms"] = ms[0]
        for count in (20, 200):
            figures["vsphere_calls_per_machine_%d" % count], many, seen = calls(rig, "many%d" % count, account, profile,
                                                                                count)
            notes.append("%d at once: %.0f ms (median) to a machine with an address; at most %d connections, %d sessions"
                         % (count, statistics.median(many), seen["connections"]["maxSinceReset"],
                            seen["sessions"]["maxSinceReset"]))
            methods = sorted(seen["sinceReset"]["method"].items(), key=lambda item: -item[1])
            notes.append("their calls: " + ", ".join("%s %d" % item for item in methods))
    finally:
        rig.stop()
        rig.remove()
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        json.dump({"figures": figures, "notes": notes}, out)


main()
