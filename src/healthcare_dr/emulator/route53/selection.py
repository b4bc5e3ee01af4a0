"""Which of several weighted records Route 53 answers ("How Amazon Route 53 chooses records when health checking is
configured"). Pure, but for the random source it is given."""

from collections.abc import Mapping, Sequence
from random import Random

from healthcare_dr.emulator.route53.model import Record

_UNWEIGHTED = 1


def choose(records: Sequence[Record], healthy: Mapping[str, bool], random: Random) -> Record:
    """One of `records`, which share name and type.

    A record without a check is always healthy, as is one whose check is unknown. Where none is healthy, all are.
    Records of weight 0 are considered only where no other is healthy, and then alike.

    Args:
        records: at least one.
        healthy: verdicts by check id.
    """
    living = [record for record in records if record.check_id is None or healthy.get(record.check_id, True)]
    candidates = living or list(records)
    weighted = [record for record in candidates if record.weight != 0]
    weights = [_UNWEIGHTED if record.weight is None else record.weight for record in weighted]
    return random.choices(weighted, weights)[0] if weighted else random.choice(candidates)
