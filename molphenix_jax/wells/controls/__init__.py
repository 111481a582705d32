"""Which wells are controls, and which ones the table itself excludes."""
