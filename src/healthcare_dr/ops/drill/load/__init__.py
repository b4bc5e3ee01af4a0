"""The load of a drill: its clients, their rate, and the ledger of acknowledged writes."""
