"""Measure the synthesis of all three stacks with and without the lazy preload, and through the `cdktn` command line."""

import os
from pathlib import Path

from bench.model import Aim, Measurement, Say, Series
from bench.running import CHECKOUT, BenchError, python, run, scratch_folder
from healthcare_dr.infra.node import node_binary

ROUNDS = 5
CDKTN = CHECKOUT / "tools" / "cdktn" / "node_modules" / ".bin" / "cdktn"
MEGABYTE = 1_000_000


def measure(say: Say) -> list[Measurement]:
    """Measure whole processes, from the start of Python to its end."""
    if not CDKTN.exists():
        raise BenchError("the cdktn command line is not installed: run `make bench`, which installs it first")
    seconds: dict[str, list[float]] = {"lazy": [], "eager": [], "cdktn": []}
    memory: dict[str, list[float]] = {"lazy": [], "eager": []}
    with scratch_folder() as scratch:
        for number in range(1, ROUNDS + 1):
            say(f"synthesis: round {number} of {ROUNDS}")
            for kind in ("lazy", "eager"):
                done = python("bench.processes.synthesize", scratch / f"{kind}-{number}", kind)
                seconds[kind].append(done.seconds)
                memory[kind].append(int(done.output.split()[-1]) / MEGABYTE)
            seconds["cdktn"].append(_cdktn(scratch / f"cdktn-{number}"))
    lazily = Series("lazy preload", tuple(seconds["lazy"]))
    eagerly = Series("no preload", tuple(seconds["eager"]))
    return [
        Measurement(
            name="synthesis",
            unit="s",
            measured=eagerly,
            reference=lazily,
            aim=Aim("ratio", "least", 3.0),
            note="A fresh process synthesizes all three stacks; the ratio is how many times faster the preload is.",
        ),
        Measurement(
            name="synthesis-memory",
            unit="MB",
            measured=Series("lazy preload", tuple(memory["lazy"])),
            reference=Series("no preload", tuple(memory["eager"])),
            aim=Aim("measured", "most", 250.0),
            note="Peak resident memory in the same runs: the sum of Python's and Node's.",
        ),
        Measurement(
            name="synthesis-cdktn",
            unit="s",
            measured=Series("cdktn synth", tuple(seconds["cdktn"])),
            reference=lazily,
            note="The same synthesis through the cdktn command line, compared with `hdr synth`.",
        ),
    ]


def _cdktn(outdir: Path) -> float:
    environment = os.environ | {
        "PATH": f"{node_binary().parent}{os.pathsep}{os.environ['PATH']}",
        "CHECKPOINT_DISABLE": "1",
        "CI": "1",
    }
    return run([CDKTN, "synth", "-o", outdir], environment=environment).seconds
