"""Programs that a benchmark runs in processes of their own, which import as little as possible."""
