"""The data plane of Route 53 on a thread of its own: it follows zones and checks, probes, and answers DNS."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random, SystemRandom
from threading import Event, Thread

from healthcare_dr.emulator.route53.answers import Answers
from healthcare_dr.emulator.route53.board import Board
from healthcare_dr.emulator.route53.checkers import Checkers
from healthcare_dr.emulator.route53.model import CheckStatus, Snapshot, endpoint_of
from healthcare_dr.emulator.route53.probing import through_doors
from healthcare_dr.emulator.route53.publishing import Finding
from healthcare_dr.emulator.route53.server import DnsServer
from healthcare_dr.errors import EmulatorError

FOLLOW_SECONDS = 2.0
PUBLISH_SECONDS = 10.0
STOP_SECONDS = 10.0

logger = logging.getLogger(__name__)


class DataPlane:
    """Everything Route 53 does without its control plane."""

    def __init__(
        self,
        *,
        read: Callable[[], Snapshot],
        doors: Mapping[str, str],
        door_port: int,
        dns_address: str,
        dns_port: int,
        time_scale: Callable[[], float],
        publish: Callable[[Sequence[Finding]], None] | None = None,
        random: Random | None = None,
    ) -> None:
        """`read` gives the present zones and checks, and may fail; `doors` are addresses by region."""
        self._read = read
        self._publish = publish
        self._time_scale = time_scale
        self._dns = (dns_address, dns_port)
        self._connect = through_doors(doors, door_port)
        self._board = Board()
        self._snapshot = Snapshot()
        self._answers = Answers(
            snapshot=lambda: self._snapshot,
            healthy=lambda: self._board.verdicts(self._snapshot.checks),
            doors=doors,
            time_scale=time_scale,
            random=random or SystemRandom(),
        )
        self._ready = Event()
        self._failure: OSError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._thread = Thread(target=self._run, name="route53", daemon=True)

    def start(self) -> None:
        """Start, and return when DNS is answered.

        Raises:
            EmulatorError: the address is taken.
        """
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            address, port = self._dns
            raise EmulatorError(
                f"DNS cannot listen on {address}:{port} ({self._failure.strerror}): choose another port"
            )

    def stop(self) -> None:
        """End everything and wait until it has; nothing happens when it does not run."""
        if self._loop is None or self._ended is None or not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(timeout=STOP_SECONDS)

    def checks(self) -> dict[str, CheckStatus]:
        """Every check as it is now, by id; from any thread."""
        return self._board.statuses(self._snapshot.checks)

    def zone_targets(self) -> dict[str, dict[str, str]]:
        """By shared name, the API behind it in each region; from any thread."""
        found: dict[str, dict[str, str]] = {}
        for record in (record for zone in self._snapshot.zones for record in zone.records if record.type == "CNAME"):
            for endpoint in map(endpoint_of, record.values):
                if endpoint:
                    found.setdefault(record.name, {})[endpoint[1]] = endpoint[0]
        return found

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        server = DnsServer(
            reply=lambda packet, udp: self._answers.reply(packet, udp=udp), address=self._dns[0], port=self._dns[1]
        )
        try:
            await server.start()
        except OSError as error:
            self._failure = error
            return
        self._ready.set()
        checkers = Checkers(board=self._board, connect=self._connect, time_scale=self._time_scale)
        # Not the loop's own executor: at the end, the loop would wait for a call that hangs.
        threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="route53")
        tasks = [asyncio.create_task(self._follow(checkers, threads)), asyncio.create_task(self._tell(threads))]
        try:
            await self._ended.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await checkers.stop()
            await server.stop()
            threads.shutdown(wait=False, cancel_futures=True)

    async def _follow(self, checkers: Checkers, threads: ThreadPoolExecutor) -> None:
        failed = False
        while True:
            try:
                self._snapshot = await asyncio.get_running_loop().run_in_executor(threads, self._read)
                failed = False
            except Exception as error:  # noqa: BLE001 - whatever keeps it from reading, the last snapshot serves
                if not failed:
                    logger.warning(
                        "The API of Route 53 cannot be read, its last answers serve: %s", type(error).__name__
                    )
                failed = True
            checkers.follow(self._snapshot.checks)
            await asyncio.sleep(FOLLOW_SECONDS)

    async def _tell(self, threads: ThreadPoolExecutor) -> None:
        while self._publish is not None:
            await asyncio.sleep(PUBLISH_SECONDS / self._time_scale())
            findings = [(check_id, status.healthy, status.share) for check_id, status in self.checks().items()]
            try:
                await asyncio.get_running_loop().run_in_executor(threads, self._publish, findings)
            except Exception as error:  # noqa: BLE001 - health does not depend on being told
                logger.warning("The findings of the health checks were not published: %s", type(error).__name__)
