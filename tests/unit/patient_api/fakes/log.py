"""A log in memory."""

import io
import json
from collections import Counter
from typing import Any


class FakeLog(io.StringIO):
    """The stream of a structured log."""

    def lines(self) -> list[dict[str, Any]]:
        """Return the log lines, metrics included."""
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def messages(self) -> list[dict[str, Any]]:
        """Return the log lines without the metrics."""
        return [line for line in self.lines() if "_aws" not in line]

    def metrics(self) -> dict[str, float]:
        """Return the sum of each metric."""
        sums: Counter[str] = Counter()
        for line in self.lines():
            for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"] if "_aws" in line else ():
                sums[metric["Name"]] += sum(line[metric["Name"]])
        return dict(sums)

    def clear(self) -> None:
        """Remove all lines."""
        self.seek(0)
        self.truncate()
