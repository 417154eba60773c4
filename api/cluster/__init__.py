"""The cluster profile: processes over Kafka, Flink and Cassandra, each with some of the roles."""
