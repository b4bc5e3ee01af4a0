"""Store versions of records, never changing one, and read them by key, by index and by time."""
