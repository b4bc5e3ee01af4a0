"""The health checkers: one for each check and each of the checker regions in use, each at its own pace."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from healthcare_dr.emulator.route53.board import Board
from healthcare_dr.emulator.route53.model import CHECKER_REGIONS, CheckConfig, Observation, checker_regions
from healthcare_dr.emulator.route53.probing import Connect, Outcome, probe

# All of them run on this machine.
CHECKER_ADDRESS = "127.0.0.1"
# How soon a changed time scale is noticed, and the least time between two probes of one checker (real seconds).
NOTICE_SECONDS = 0.5
LEAST_SECONDS = 0.02

logger = logging.getLogger(__name__)


class Checkers:
    """Probes what it follows and notes it on `board`; lives in one event loop."""

    def __init__(self, *, board: Board, connect: Connect, time_scale: Callable[[], float]) -> None:
        self._board = board
        self._connect = connect
        self._time_scale = time_scale
        self._running: dict[str, tuple[CheckConfig, list[asyncio.Task[None]]]] = {}
        self._undecided: set[str] = set()

    def follow(self, checks: Mapping[str, CheckConfig]) -> None:
        """Probe these from now on, and no others; a check that changed keeps what its checkers found so far.

        What is neither probed nor calculated is not followed, and a line in the log says so once.
        """
        self._tell_undecided(checks)
        wanted = {check.id: check for check in checks.values() if check.probed}
        for check_id, (config, tasks) in list(self._running.items()):
            if wanted.get(check_id) != config:
                del self._running[check_id]
                for task in tasks:
                    task.cancel()
        self._board.keep_only(wanted)
        for check in wanted.values():
            if check.id not in self._running:
                tasks = [asyncio.create_task(self._check(check, number)) for number in range(len(CHECKER_REGIONS))]
                self._running[check.id] = (check, tasks)

    def _tell_undecided(self, checks: Mapping[str, CheckConfig]) -> None:
        undecided = {check.id: check for check in checks.values() if not check.decided}
        for check_id in undecided.keys() - self._undecided:
            kind, always = undecided[check_id].type, "unhealthy" if undecided[check_id].inverted else "healthy"
            logger.warning(
                "The health check %s is a %s, which nothing here decides: it is always %s", check_id, kind, always
            )
        self._undecided = set(undecided)

    async def stop(self) -> None:
        """End every checker."""
        tasks = [task for _, found in self._running.values() for task in found]
        self._running.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _check(self, check: CheckConfig, number: int) -> None:
        region = CHECKER_REGIONS[number]
        begins = True
        while True:
            if region not in checker_regions(self._time_scale()):
                begins = True
                await asyncio.sleep(NOTICE_SECONDS)
                continue
            if begins:
                # Checkers that begin together probe one after the other.
                await self._pause(time.monotonic(), check.interval * number / len(CHECKER_REGIONS))
                begins = False
            began = time.monotonic()
            try:
                outcome = await probe(check, self._connect, self._time_scale())
            except Exception as error:  # noqa: BLE001 - a checker that ended would hold its last opinion for ever
                outcome = Outcome(False, f"Failure: The endpoint cannot be asked ({type(error).__name__}).")
            seen = Observation(region, CHECKER_ADDRESS, outcome.text, time.time())
            self._board.note(check, seen, success=outcome.success)
            await asyncio.sleep(LEAST_SECONDS)
            await self._pause(began, check.interval)

    async def _pause(self, began: float, seconds: float) -> None:
        while (left := began + seconds / self._time_scale() - time.monotonic()) > 0:
            await asyncio.sleep(min(left, NOTICE_SECONDS))
