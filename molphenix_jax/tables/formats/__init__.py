"""Files that are neither CSV nor Parquet, as streams of Arrow tables."""
