"""Processor time and memory of a tree of processes, from Linux's /proc."""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

FUNCTIONS = "functions"
KILOBYTES_PER_MEGABYTE = 1000.0


@dataclass(frozen=True)
class ProcessTimes:
    """Times of a process from `/proc/<pid>/stat`, in clock ticks.

    Attributes:
        own: processor time of the process itself.
        reaped: processor time of its ended children that were waited for, including their children.
    """

    pid: int
    parent: int
    own: int
    reaped: int


def parse_stat(text: str) -> ProcessTimes:
    """Parse the content of `/proc/<pid>/stat`. The command name in it may contain any character."""
    pid, rest = text.split(" (", 1)
    fields = rest.rsplit(") ", 1)[1].split()
    own_user, own_system, reaped_user, reaped_system = (int(field) for field in fields[11:15])
    return ProcessTimes(int(pid), int(fields[1]), own_user + own_system, reaped_user + reaped_system)


def roles_of(processes: Iterable[ProcessTimes], roots: Mapping[str, int]) -> dict[int, str]:
    """Return the role of each process of the tree: that of a root, or `functions` for its descendants.

    Args:
        roots: process ids of the embedded AWS's own processes, by role; one may be a child of another.
    """
    parents = {process.pid: process.parent for process in processes}
    named = {pid: role for role, pid in roots.items()}
    found = {}
    for pid in parents:
        ancestor = pid
        while ancestor in parents and ancestor not in named:
            ancestor = parents[ancestor]
        if pid in named:
            found[pid] = named[pid]
        elif ancestor in named:
            found[pid] = FUNCTIONS
    return found


def ticks_by_role(processes: Collection[ProcessTimes], roots: Mapping[str, int]) -> dict[str, int]:
    """Return the clock ticks used so far, by role. Ticks of ended children count for `functions`."""
    ticks = dict.fromkeys((*roots, FUNCTIONS), 0)
    roles = roles_of(processes, roots)
    for process in processes:
        if (role := roles.get(process.pid)) is None:
            continue
        ticks[role] += process.own
        ticks[FUNCTIONS] += process.reaped
    return ticks


def parse_pss(text: str) -> int:
    """Return the proportional set size in kilobytes from the content of `/proc/<pid>/smaps_rollup`."""
    line = next(line for line in text.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1])


def read_processes() -> list[ProcessTimes]:
    """Return all processes of the machine, except those that end meanwhile."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found.append(parse_stat((folder / "stat").read_text()))
            except OSError:
                continue
    return found


def cpu_seconds(roots: Mapping[str, int]) -> dict[str, float]:
    """Return the processor time used so far in seconds, by role."""
    per_second = os.sysconf("SC_CLK_TCK")
    return {role: ticks / per_second for role, ticks in ticks_by_role(read_processes(), roots).items()}


def memory_megabytes(roots: Mapping[str, int]) -> dict[str, float]:
    """Return the proportional set size in megabytes, by role. Shared memory counts once."""
    found = dict.fromkeys((*roots, FUNCTIONS), 0.0)
    for pid, role in roles_of(read_processes(), roots).items():
        try:
            rollup = (Path("/proc") / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        found[role] += parse_pss(rollup) * 1024 / 1000 / KILOBYTES_PER_MEGABYTE
    return found
