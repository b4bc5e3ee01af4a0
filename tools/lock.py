"""Lock requirements/*.in into requirements/*.txt, with versions and hashes for all platforms."""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[1] / "requirements"
# Another version of uv may select or format differently.
UV = "uv==0.13.9"
# The Lambda package uses the same versions as everything else.
CONSTRAINTS = {"lambda": ("-c", "runtime.txt")}


def main() -> None:
    """Lock the files in the order of their dependencies."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip, uv = (Path(folder) / "bin" / name for name in ("pip", "uv"))
        subprocess.run([pip, "install", "--quiet", UV], check=True)
        for name in ("runtime", "dev", "lambda", "checkov"):
            print(f"locking {name}", file=sys.stderr)
            subprocess.run(
                [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes",
                 "--no-header", *CONSTRAINTS.get(name, ()), f"{name}.in", "-o", f"{name}.txt"],
                check=True, cwd=REQUIREMENTS,
            )  # fmt: skip


if __name__ == "__main__":
    main()
