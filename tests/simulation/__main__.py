"""Run seeds of the simulation, and explain the first that fails: `python -m simulation SEED`, in the folder `tests`."""

import argparse
import sys
from itertools import count

from simulation.run import Outcome, Plan, run, run_many, shortened


def main() -> int:
    """Run the command line. Returns 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("seed", type=int, help="the seed, or the first one with --seconds")
    parser.add_argument("--seconds", type=float, help="run seeds for so long, until one fails")
    parser.add_argument("--whole", action="store_true", help="do not look for a shorter plan")
    arguments = parser.parse_args()
    outcome = run(Plan.of(arguments.seed))
    if arguments.seconds is not None:
        summary = run_many(count(arguments.seed), seconds=arguments.seconds, most_failures=1)
        print(summary)
        if not summary.failed:
            return 0
        outcome = summary.failed[0]
    if outcome.violations and not arguments.whole:
        outcome = shortened(outcome)
    explain(run(outcome.plan, traced=True))
    return 1 if outcome.violations else 0


def explain(outcome: Outcome) -> None:
    """Print the trace of a run, its plan and what did not hold."""
    print(outcome.trace)
    print(f"\nseed {outcome.plan.seed}, {len(outcome.plan)} steps and faults, digest {outcome.digest[:16]}")
    for part in (*outcome.plan.faults, *outcome.plan.operations):
        print(f"  {part}")
    for violation in outcome.violations or ("everything holds",):
        print(violation)


if __name__ == "__main__":
    sys.exit(main())
