"""Synthesis in a process of its own.

Node, which jsii starts, shares our process group: a Ctrl-C at the terminal would end it beside Terraform, and jsii
would complain about that at our exit. A process of its own takes Node with it as soon as the files are written.
"""

import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from healthcare_dr.errors import SynthesisError
from healthcare_dr.settings import Settings


def synthesize(settings: Settings, folder: Path) -> None:
    """Write `<folder>/stacks/<stack>/cdk.tf.json` and the assets.

    Raises:
        SynthesisError: the description breaks a rule, the folder cannot be made, or the synthesis died.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SynthesisError(f"{folder} cannot be made a folder: {error.strerror}") from error
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"), initializer=_ignore_ctrl_c) as pool:
        try:
            pool.submit(_run, settings, folder).result()
        except BrokenProcessPool as error:
            raise SynthesisError("the synthesis was ended before it was done: is there enough memory?") from error


def _ignore_ctrl_c() -> None:
    """The process that waits for us decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(settings: Settings, folder: Path) -> None:
    from healthcare_dr.infra import synth

    synth(settings, folder)
