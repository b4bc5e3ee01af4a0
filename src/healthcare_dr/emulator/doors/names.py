"""Tells the processes of functions where the front doors are."""

from pathlib import Path

from healthcare_dr.emulator.configuration import Ports
from healthcare_dr.emulator.doors import resolution


def let_functions_find(ports: Ports, *, packages: Path) -> None:
    """Write it into `packages`, a folder that functions import from; for those whose process starts from now on."""
    source = Path(resolution.__file__).read_text(encoding="utf-8")
    call = f"install({ports.doors!r}, {ports.door_port!r})\n"
    (packages / "sitecustomize.py").write_text(f"{source}\n\n{call}", encoding="utf-8")
