"""What else differs on purpose between wells: time, cell line, and further columns."""
