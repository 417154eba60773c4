"""The event log of the cluster profile on Kafka, and what consumers of it need."""
