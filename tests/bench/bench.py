#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the built programs from outside, prints a table, writes the figures as JSON.

bench.py --build DIR --source DIR --out FILE [--work DIR] [--only PART,...] [--clusters N]

Parts: idle, instruction, sim, vsphere. A part whose programs are not there is left out of the
file, and the table says what was missing. Times are of this machine: nothing is judged here.
"""
import argparse
import json
import os
import shutil
import sys

import gateway
import part_idle
import part_instruction
import part_sim
import part_vsphere
import table

PARTS = (("idle", part_idle), ("instruction", part_instruction), ("sim", part_sim),
         ("vsphere", part_vsphere))


def main():
    parser = argparse.ArgumentParser(description="measures pcgd and its workers")
    parser.add_argument("--build", required=True, help="folder of the built programs")
    parser.add_argument("--source", required=True, help="folder of the source")
    parser.add_argument("--out", required=True, help="file of figures to write")
    parser.add_argument("--work", help="folder for stores and logs (default: BUILD/bench.work)")
    parser.add_argument("--only", default="", help="parts, separated by commas")
    parser.add_argument("--clusters", type=int, default=200, help="clusters of the part sim")
    parser.add_argument("--keep", action="store_true", help="keep the folder of stores and logs")
    args = parser.parse_args()
    args.work = os.path.abspath(args.work or os.path.join(args.build, "bench.work"))
    args.build = os.path.abspath(args.build)
    args.source = os.path.abspath(args.source)
    only = [name for name in args.only.split(",") if name]
    figures, failed = {}, []
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
            continue
        except gateway.Failed as failure:
            table.note(name, "failed: %s" % failure)
            failed.append(name)
            continue
        table.show(name, result)
        figures.update(result.figures)
    if not only:
        with open(args.out + ".new", "w", encoding="utf-8") as out:
            json.dump(figures, out, indent=1)
            out.write("\n")
        os.replace(args.out + ".new", args.out)
        print("figures: %s" % args.out)
    if not args.keep and not failed:
        shutil.rmtree(args.work, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
