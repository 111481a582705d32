"""What a user gives as wells: files, kinds of files, layouts of public screens."""
