"""The loop, the records, the statistics and the command line."""
