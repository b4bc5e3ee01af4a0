"""The cheapest consistent read of the records table: it shows that the table can be read, and DynamoDB's time."""

from patient_api.aws import DynamoDB, translated
from patient_api.contract.keys import HEALTH_PROBE, key


def read_probe(client: DynamoDB, table: str) -> None:
    """Read an item that the records table does not have. Raises StorageFault when the table cannot be read."""
    with translated("GetItem"):
        client.get_item(TableName=table, Key=key(*HEALTH_PROBE), ConsistentRead=True)
