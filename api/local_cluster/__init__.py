"""A whole cluster on one machine, without containers: Kafka, Cassandra, Flink and our own processes on the loopback."""
