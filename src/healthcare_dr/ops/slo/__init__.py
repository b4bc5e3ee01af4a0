"""Error budgets, and the share of them that measured recoveries use."""
