"""Names and limits of the FIS templates, for the infrastructure and for drills.

They are apart from `fault_injection`, whose import of the bindings starts Node: no command but a synthesis needs that.
"""

from typing import Final

PAUSE_TABLES: Final = "pause-tables"
PAUSE_DOCUMENTS: Final = "pause-documents"
DISCONNECT: Final = "disconnect"
TEMPLATES: Final = (PAUSE_TABLES, PAUSE_DOCUMENTS, DISCONNECT)

# Enough for a pause that takes five minutes to begin; far from the 20 hours after which DynamoDB drops a replica.
MINUTES: Final = 30
STOP_ALARM: Final = "endpoint-unhealthy"
MANAGED: Final = "managedByFIS"
"""The tag of all resources that FIS creates to disconnect a region."""
