"""Read models on Cassandra."""
