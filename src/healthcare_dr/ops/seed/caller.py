"""Calls that get through: repeated while a region is busy or out of reach, as long as that can change nothing."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from healthcare_dr.errors import DeploymentError

if TYPE_CHECKING:
    import httpx

ATTEMPTS: Final = 8
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
LONGEST_ASKED_SECONDS: Final = 120.0
# 409 is another attempt of the same call that is still under way.
BUSY: Final = frozenset({409, 429, 502, 503, 504})


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    """Somebody ended the work: no further call is to be made."""


@dataclass
class Caller:
    """Repeats calls. Each has to be one that may be repeated; threads may share it."""

    client: "httpx.Client"
    stop: threading.Event
    retries: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(
        self, method: str, url: str, *, content: bytes, headers: Mapping[str, str], accept: Iterable[int], what: str
    ) -> "httpx.Response":
        """The answer, whose status is one of `accept`.

        Raises:
            DeploymentError: refused, or not answered in spite of all attempts; it names `what`, never an address.
            Stopped: the work was ended meanwhile.
        """
        import httpx

        trouble = "no answer"
        for attempt in range(ATTEMPTS):
            pause = min(FIRST_PAUSE_SECONDS * 2**attempt, LONGEST_PAUSE_SECONDS)
            if self.stop.is_set():
                raise Stopped
            try:
                answer = self.client.request(method, url, content=content, headers=dict(headers))
            except httpx.TransportError as error:
                trouble = str(error) or type(error).__name__
            else:
                if answer.status_code in accept:
                    return answer
                trouble = described(answer)
                if answer.status_code not in BUSY:
                    raise DeploymentError(f"{what} was refused: {trouble}")
                asked = retry_after(answer.headers)
                pause = pause if asked is None else min(asked, LONGEST_ASKED_SECONDS)
            if attempt + 1 < ATTEMPTS:
                with self._lock:
                    self.retries += 1
                self.stop.wait(pause)
        raise DeploymentError(f"{what} failed {ATTEMPTS} times: {trouble}; the same command goes on from there")


def retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """The seconds a Retry-After asks for, given as such or as a date; None without one (RFC 9110, section 10.2.3)."""
    asked = headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdigit():
        return float(asked)
    try:
        until = parsedate_to_datetime(asked)
    except ValueError:
        return None
    return max(0.0, (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - now())


def described(answer: "httpx.Response") -> str:
    """The status, and what an OperationOutcome or another short answer says of it."""
    hint = " (is the token still valid, and does it grant this?)" if answer.status_code in {401, 403} else ""
    try:
        issue: Any = answer.json()["issue"][0]
        said = " ".join(str(part) for part in (issue.get("diagnostics", ""), *issue.get("expression", ())))
    except (ValueError, LookupError, TypeError, AttributeError):
        said = " ".join(answer.text.split())[:200]
    return f"{answer.status_code}{hint} {said}".strip()
