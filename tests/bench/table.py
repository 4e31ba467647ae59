# SPDX-License-Identifier: Apache-2.0
"""The table: a line for each figure, with its goal and what was measured beside it."""

GOALS = {
    "sim200_chain_ratio": 1.5,
    "sim200_cpu_ms_per_cluster": 10,
    "idle_private_mib": 5,
    "worker_private_mib": 4,
    "vsphere_calls_per_machine_1": 15,
    "vsphere_one_machine_ms": 500,
    "instruction_to_call_ms_median": 5,
    "pivotback350_vs_clusterctl_ratio": 10,
}


class Result:
    """figures go into the file; notes only explain them."""

    def __init__(self):
        self.figures = {}
        self.notes = []

    def figure(self, key, value):
        self.figures[key] = round(value, 3)

    def note(self, text):
        self.notes.append(text)


def note(part, text):
    print("%-12s %s" % (part, text), flush=True)


def show(part, result):
    for key, value in result.figures.items():
        goal = GOALS.get(key)
        print("%-12s %-34s %12.3f %s" % (part, key, value, "goal %g" % goal if goal else ""))
    for text in result.notes:
        print("%-12s   %s" % ("", text))
    print("", flush=True)
