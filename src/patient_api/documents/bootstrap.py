"""Puts together what both functions that deal with documents need."""

from datetime import UTC, datetime

from patient_api.aws import S3, Clients
from patient_api.contract.functions import Environment
from patient_api.documents.bucket import Bucket
from patient_api.documents.downloads import Downloads
from patient_api.documents.multipart import Multipart
from patient_api.documents.offers import UploadOffers
from patient_api.documents.pending import Pending
from patient_api.documents.uploads import Uploads


class Documents:
    """The buckets of both regions, as seen from one. No client is made before it is needed."""

    def __init__(self, *, environment: Environment, clients: Clients) -> None:
        self._environment = environment
        self._clients = clients
        self.here = Bucket(region=environment.region, name=environment.documents_bucket, client=clients.documents)
        self.there = Bucket(
            region=environment.peer_region, name=environment.peer_documents_bucket, client=self.peer_client
        )

    def downloads(self) -> Downloads:
        """From here, or else from there."""
        return Downloads(buckets=(self.here, self.there))

    def offers(self) -> UploadOffers:
        """To upload here; what was offered there can be completed from here as well."""
        environment = self._environment
        here, there = environment.documents_bucket, environment.peer_documents_bucket
        return UploadOffers(
            region=environment.region,
            uploads=Uploads(client=self._clients.documents, bucket=here, key_arn=environment.key_arn, now=utc_now),
            multipart={
                environment.region: Multipart(client=self._clients.documents, bucket=here),
                environment.peer_region: Multipart(client=self.peer_client, bucket=there),
            },
            pending=self.pending(),
            now=utc_now,
        )

    def pending(self) -> Pending:
        """This region's shelf."""
        return Pending(
            client=self._clients.dynamodb(), table=self._environment.records_table, region=self._environment.region
        )

    def peer_client(self) -> S3:
        """The client for the other region's bucket."""
        return self._clients.documents_of(region=self._environment.peer_region, role=self._environment.peer_role_arn)


def utc_now() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)
