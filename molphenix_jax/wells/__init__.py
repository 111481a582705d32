"""From tables to checked wells: doses, controls, conditions, features; what is left out and why."""
