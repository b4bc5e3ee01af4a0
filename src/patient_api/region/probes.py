"""The probes of a region's health: one call to each service a record or a document needs."""

from patient_api.aws import Clients
from patient_api.environment import Environment
from patient_api.faults import translated
from patient_api.region.health import Probe


def probes(*, clients: Clients, environment: Environment) -> tuple[Probe, ...]:
    """Clients that only the probes need are made by the first of them."""

    def records() -> None:
        with translated("GetItem"):
            clients.dynamodb().get_item(
                TableName=environment.records_table,
                Key={"pk": {"S": "$platform#health"}, "sk": {"S": "probe"}},
                ConsistentRead=True,
            )

    def documents() -> None:
        with translated("HeadBucket"):
            clients.s3().head_bucket(Bucket=environment.documents_bucket)

    def key() -> None:
        with translated("GenerateDataKeyWithoutPlaintext"):
            clients.kms().generate_data_key_without_plaintext(KeyId=environment.key_arn, KeySpec="AES_256")

    return Probe("records", records), Probe("documents", documents), Probe("key", key, of_key=True)
