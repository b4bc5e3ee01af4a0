"""Python's collector of reference cycles, which stops the whole process while it looks.

Everything that was ever written is held in memory, in millions of objects that a full collection goes through: 2.5 s
each half minute, for which nothing answered, health checks failed and clients gave up. Here a full collection looks
only at what is new since the last one ("gc.freeze" in the documentation of Python's gc module). In return, a cycle
that is broken off later is not collected: a few connections' worth at each collection.
"""

import gc
from typing import Any


def keep_collections_short() -> None:
    """Set aside what survives a full collection, from now on."""
    gc.callbacks.append(_set_aside)


def _set_aside(phase: str, info: dict[str, Any]) -> None:
    if phase == "stop" and info["generation"] == 2:
        gc.freeze()
