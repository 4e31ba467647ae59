# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of a process: processor time, memory, wake-ups."""
import os


def children(pid):
    found = []
    try:
        tasks = os.listdir("/proc/%d/task" % pid)
    except FileNotFoundError:
        return found
    for tid in tasks:
        try:
            with open("/proc/%d/task/%s/children" % (pid, tid), encoding="ascii") as f:
                found += [int(child) for child in f.read().split()]
        except FileNotFoundError:
            pass
    return found


def name(pid):
    with open("/proc/%d/comm" % pid, encoding="utf-8") as f:
        return f.read().strip()


def named(pid, wanted):
    return [child for child in children(pid) if name(child) == wanted]


def thread_ms(pid):
    """Processor time of each thread: {tid: (name, ms)}."""
    times = {}
    for tid in os.listdir("/proc/%d/task" % pid):
        base = "/proc/%d/task/%s/" % (pid, tid)
        try:
            with open(base + "schedstat", encoding="ascii") as f:
                ns = int(f.read().split()[0])
            with open(base + "comm", encoding="utf-8") as f:
                times[int(tid)] = (f.read().strip(), ns / 1e6)
        except FileNotFoundError:
            pass
    return times


def cpu_ms(pid):
    return sum(ms for _, ms in thread_ms(pid).values())


def private_mib(pid):
    kib = 0
    with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
        for line in f:
            if line.startswith(("Private_Clean:", "Private_Dirty:")):
                kib += int(line.split()[1])
    return kib / 1024


def peak_rss_mib(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        for line in f:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def wakeups(pid):
    """How often its threads went to sleep by themselves, so far."""
    total = 0
    for tid in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/status" % (pid, tid), encoding="ascii") as f:
            for line in f:
                if line.startswith("voluntary_ctxt_switches:"):
                    total += int(line.split()[1])
    return total
