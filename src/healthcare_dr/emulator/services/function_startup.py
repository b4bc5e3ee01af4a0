"""Write the `sitecustomize` that function processes run at start: name resolution, and the clock of cached values."""

from pathlib import Path

from healthcare_dr.emulator.configuration import Ports
from healthcare_dr.emulator.services import function_clock, function_resolution


def write_sitecustomize(ports: Ports, *, conditions: Path, packages: Path) -> None:
    """Write it into `packages`, a folder that functions import from; processes that start from now on run it."""
    sources = [
        Path(str(module.__file__)).read_text(encoding="utf-8") for module in (function_resolution, function_clock)
    ]
    calls = f"install({ports.edge_addresses!r}, {ports.edge_port!r})\ninstall_clock({str(conditions)!r})\n"
    (packages / "sitecustomize.py").write_text("\n\n".join((*sources, calls)), encoding="utf-8")
