#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the built programs from outside, prints a table, writes the figures as JSON.

bench.py --build DIR --source DIR --out FILE [--work DIR] [--only PART,...] [--clusters N]

Parts: idle, instruction, sim, vsphere, pivot, pivots. A part that fails, or whose programs are not there, does not keep the
others from being measured: at the end each figure that is not in the file is named with the reason, and the exit
status is 1. Times are of this machine: nothing is judged here.
"""
import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys

import gateway
import part_choices
import part_idle
import part_instruction
import part_pivot
import part_pivots
import part_sim
import part_vsphere
import table

CLUSTERS = 200  # that the names of the figures promise
KEYS = {
    "idle": ("idle_private_mib", "idle_wakeups_per_min"),
    "instruction": ("worker_private_mib", "instruction_to_call_ms_median", "instruction_to_call_ms_max",
                    "instruction_to_call_cold_ms"),
    "sim": ("sim200_chain_ratio", "sim200_chain_ms", "sim200_host_rss_mib", "sim200_cpu_ms_per_cluster"),
    "vsphere": ("vsphere_calls_per_machine_1", "vsphere_calls_per_machine_20", "vsphere_one_machine_ms"),
    "choices": ("vsphere_validate_ms", "vsphere_picklist_10000_ms", "vsphere_picklist_10000_rss_mib"),
    "pivot": ("pivotback350_vs_clusterctl_ratio", "pivotback350_calls", "clusterctl350_calls", "pivot_ms",
              "pivot_calls"),
    "pivots": ("pivot50_host_rss_mib",),
}
PARTS = (("idle", part_idle), ("instruction", part_instruction), ("sim", part_sim),
         ("vsphere", part_vsphere), ("choices", part_choices), ("pivot", part_pivot), ("pivots", part_pivots))


def main():
    parser = argparse.ArgumentParser(description="measures pcgd and its workers")
    parser.add_argument("--build", required=True, help="folder of the built programs")
    parser.add_argument("--source", required=True, help="folder of the source")
    parser.add_argument("--out", required=True, help="file of figures to write")
    parser.add_argument("--work", help="folder for stores and logs (default: BUILD/bench.work)")
    parser.add_argument("--only", default="", help="parts, separated by commas")
    parser.add_argument("--clusters", type=int, default=CLUSTERS, help="clusters of the part sim")
    parser.add_argument("--keep", action="store_true", help="keep the folder of stores and logs")
    args = parser.parse_args()
    args.work = os.path.abspath(args.work or os.path.join(args.build, "bench.work"))
    args.build = os.path.abspath(args.build)
    args.source = os.path.abspath(args.source)
    only = [name for name in args.only.split(",") if name]
    for name in only:
        if name not in KEYS:
            parser.error("--only %s: the parts are %s" % (name, ", ".join(KEYS)))
    figures, why = {}, {}
    shutil.rmtree(args.work, ignore_errors=True)
    for name, part in PARTS:
        if only and name not in only:
            continue
        work = os.path.join(args.work, name)
        os.makedirs(work)
        try:
            result = part.run(args, work)
        except gateway.Missing as missing:
            table.note(name, "left out: %s" % missing)
            why[name] = str(missing)
            continue
        except (gateway.Failed, OSError, http.client.HTTPException, subprocess.SubprocessError) as failure:
            table.note(name, "failed: %s" % (str(failure) or type(failure).__name__))
            why[name] = "it failed, see above and %s" % work
            continue
        table.show(name, result)
        figures.update(result.figures)
    if not only and args.clusters == CLUSTERS:
        with open(args.out + ".new", "w", encoding="utf-8") as out:
            json.dump(figures, out, indent=1)
            out.write("\n")
        os.replace(args.out + ".new", args.out)
        print("figures: %s" % args.out)
    absent = [(key, name) for name in KEYS if not only or name in only for key in KEYS[name] if key not in figures]
    for key, name in absent:
        print("missing: %s: %s" % (key, why.get(name, "the part %s did not measure it" % name)))
    if not args.keep and not why:
        shutil.rmtree(args.work, ignore_errors=True)
    return 1 if absent else 0


if __name__ == "__main__":
    sys.exit(main())
