"""Which metrics tell of trouble with the other region.

This region's sentinel publishes them here: what tells of a region's loss must not be lost with it (trap 22).
"""

from healthcare_dr.infra.alarm_rules import ALARMING, BELOW, OWN_METRICS, Rule, Watched, service
from healthcare_dr.infra.sentinel import INTERVAL_SECONDS, SENTINEL
from healthcare_dr.infra.site import Site


def peer(site: Site, watched: Watched) -> list[Rule]:
    """What tells that the peer is in trouble, or that nobody looks after it any more."""
    own = service(SENTINEL)
    return [
        Rule(
            name="peer-unhealthy",
            why=f"The health endpoint of {site.peer_region} says no to {site.region}, or nothing at all",
            namespace=OWN_METRICS,
            metric="PeerHealthy",
            dimensions=own,
            statistic="Minimum",
            comparison=BELOW,
            threshold=1,
            silence=ALARMING,
        ),
        Rule(
            name="peer-heartbeat-age",
            why=f"{site.peer_region} gives no sign of life, or replication does not bring it",
            namespace=OWN_METRICS,
            metric="HeartbeatAge",
            dimensions=own,
            statistic="Maximum",
            # It may just be about to write the next one.
            threshold=INTERVAL_SECONDS + site.settings.replication_lag_seconds,
            silence=ALARMING,
        ),
        Rule(
            name="sentinel-silent",
            why=f"The sentinel of {site.region} wrote no heartbeat, or does not run: {site.peer_region} is not watched",
            namespace=OWN_METRICS,
            metric="HeartbeatWritten",
            dimensions=own,
            statistic="Minimum",
            comparison=BELOW,
            threshold=1,
            silence=ALARMING,
        ),
        Rule(
            name=f"{SENTINEL.name}-errors",
            why=f"The {SENTINEL.name} function ends in errors of its own",
            namespace="AWS/Lambda",
            metric="Errors",
            dimensions={"FunctionName": watched.sentinel},
            threshold=0,
        ),
    ]
