# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of a process: processor time, memory, wake-ups."""
import os
import time


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


def sync_ms(folder, samples=50):
    """How long fdatasync of 64 KiB that were appended takes there."""
    path, times = os.path.join(folder, "sync"), []
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for _ in range(samples):
            os.write(fd, b"x" * 65536)
            begin = time.monotonic()
            os.fdatasync(fd)
            times.append((time.monotonic() - begin) * 1000)
            time.sleep(0.005)
    finally:
        os.close(fd)
        os.unlink(path)
    return times
