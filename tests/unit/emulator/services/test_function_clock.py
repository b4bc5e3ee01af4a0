"""Tests of the scaled clock in functions."""

import json
import uuid
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from healthcare_dr.emulator import Emulator
from healthcare_dr.emulator.services.function_clock import NOTICE_SECONDS, SCALED_MODULES, ScaledClock
from unit.emulator.edge import eventually

Clients = Callable[..., Any]

MEASURES = """
import time
import types

cached = types.ModuleType("patient_api.ttl_cache")
exec("import time\\ndef now():\\n    return time.monotonic()", cached.__dict__)

def handler(event, context):
    print("measuring")
    began = cached.now(), time.monotonic()
    time.sleep(0.5)
    return [cached.now() - began[0], time.monotonic() - began[1]]
"""


def test_clock_follows_the_time_scale_and_never_runs_backwards(tmp_path: Path) -> None:
    real = [100.0]
    path = tmp_path / "conditions.json"
    clock = ScaledClock(str(path), lambda: real[0])
    seen = [clock.now()]

    def after(seconds: float) -> float:
        real[0] += seconds
        seen.append(clock.now())
        return seen[-1] - seen[-2]

    assert after(1) == pytest.approx(1)
    path.write_text(json.dumps({"time_scale": 10}))
    # The change applies from the end of this second on.
    assert after(1) == pytest.approx(1)
    assert after(1) == pytest.approx(10)
    assert after(NOTICE_SECONDS / 2) == pytest.approx(10 * NOTICE_SECONDS / 2)
    path.write_text("{")
    assert after(1) == pytest.approx(10)
    assert after(1) == pytest.approx(1)
    assert seen == sorted(seen)


def test_only_scaled_modules_get_the_scaled_clock(
    emulator: Emulator, patched: Clients, make_function: Callable[..., str]
) -> None:
    assert all(find_spec(module) for module in SCALED_MODULES)
    arn = make_function(patched, uuid.uuid4().hex, MEASURES)

    def ratio() -> float:
        payload = patched("lambda").invoke(FunctionName=arn)["Payload"].read()
        cached, other = json.loads(payload)
        return float(cached / other)

    assert ratio() == pytest.approx(1, rel=0.01)
    emulator.set_time_scale(4)
    try:
        assert eventually(lambda: ratio() == pytest.approx(4, rel=0.01))
    finally:
        emulator.set_time_scale(1)
    assert eventually(lambda: ratio() == pytest.approx(1, rel=0.01))
