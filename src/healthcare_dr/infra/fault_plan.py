"""Names and limits of the FIS templates, for the infrastructure and for drills.

They are not in `fault_injection`, which imports the bindings and therefore starts Node.
"""

from typing import Final

PAUSE_TABLES: Final = "pause-tables"
PAUSE_DOCUMENTS: Final = "pause-documents"
DISCONNECT: Final = "disconnect"
TEMPLATES: Final = (PAUSE_TABLES, PAUSE_DOCUMENTS, DISCONNECT)

# A pause begins after up to five minutes. DynamoDB removes a replica after 20 hours without replication.
MINUTES: Final = 30
STOP_ALARM: Final = "endpoint-unhealthy"
MANAGED: Final = "managedByFIS"
"""The tag of all resources that FIS creates to disconnect a region."""
