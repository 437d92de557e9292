"""What is told of the work: metrics, records of requests, their lines in the log, their spans."""
