"""What FIS is given to play: the templates' names, by which a drill finds them, and when each ends by itself."""

from typing import Final

PAUSE_TABLES: Final = "pause-tables"
PAUSE_DOCUMENTS: Final = "pause-documents"
DISCONNECT: Final = "disconnect"
TEMPLATES: Final = (PAUSE_TABLES, PAUSE_DOCUMENTS, DISCONNECT)

# Enough for a pause that takes five minutes to begin; far from the 20 hours after which DynamoDB gives a replica up.
MINUTES: Final = 30
STOP_ALARM: Final = "endpoint-unhealthy"
MANAGED: Final = "managedByFIS"
"""The tag of everything that FIS makes while it disconnects."""
