"""The machine under the measurement: its name, its two cores, who else used them."""

import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


def cores():
    """The core of the server and the core of the client, as `taskset` takes them."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise SystemExit("two cores are needed: one for the server, one for the client")
    return str(allowed[0]), str(allowed[1])


def description():
    """One line: the processor, how many of it, the system."""
    name = "unknown processor"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {os.cpu_count()} cores, Linux {platform.release()}"


COUNT = """
import sys, time
end, count = time.monotonic() + float(sys.argv[1]), 0
while time.monotonic() < end:
    count += sum(range(1000)) > 0
print(count)
"""


def apart(core, other, seconds=0.5, turns=8):
    """What a core does while the other computes, of what it does alone: about 1 where they share nothing but memory,
    about 0.6 where they are two threads of one core, whatever the system calls them."""

    def begun(where):
        command = ["taskset", "-c", where, sys.executable, "-S", "-c", COUNT, str(seconds)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def counted(*where):
        running = [begun(it) for it in where]
        return [int(it.communicate()[0]) for it in running][0]

    ratios = [counted(core, other) / counted(core) for _ in range(turns)]
    return statistics.median(ratios)


@dataclass
class Shares:
    """What a stretch of time lost, as shares of all cores."""

    stray: float
    """Used by processes that are none of ours: another program ran beside the measurement."""
    steal: float
    """Taken by the machine's host."""


class Watch:
    """Watches the cores from its creation until `stop`."""

    def __init__(self, pids):
        self.pids = pids
        self.started = time.monotonic()
        self.cores = core_seconds()
        self.ours = own_seconds(pids)

    def stop(self, pids):
        """`pids` may have grown since the start; all that they ever used counts as ours then."""
        available = (time.monotonic() - self.started) * os.cpu_count()
        busy, steal = (now - then for now, then in zip(core_seconds(), self.cores))
        ours = own_seconds(pids) - self.ours
        return Shares(stray=max(0.0, busy - ours) / available, steal=steal / available)


def core_seconds():
    """Busy and stolen seconds of all cores since the machine started."""
    with open("/proc/stat") as file:
        fields = [int(it) for it in file.readline().split()[1:]]
    user, nice, system, _idle, _iowait, interrupt, soft, steal = fields[:8]
    second = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + interrupt + soft) / second, steal / second


def own_seconds(pids):
    """Seconds used by these processes, by this one and by its children that have ended."""
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return own + seconds_of(pids)


def thread_seconds(pid):
    """The name of each thread of a process and the seconds of processor time that it used so far, by its id."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
            found[task.name] = name, int((task / "schedstat").read_text().split()[0]) / 1e9
        except OSError:
            # It ended meanwhile.
            continue
    return found


def used_between(before, after, wanted):
    """What threads whose names are wanted used between two times. What one used that ended between them is not known."""
    return sum(
        seconds - before.get(thread, (name, 0))[1]
        for thread, (name, seconds) in after.items()
        if wanted(name)
    )


def seconds_of(pids):
    """Seconds of processor time used by these processes."""
    total = 0.0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total
