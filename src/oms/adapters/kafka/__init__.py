"""The log in Apache Kafka, through confluent-kafka (librdkafka).

`broker` implements the port. It uses `producer` (sends messages and waits for their delivery reports), `subscription`
(one member of a group) and, for verification, `records` (reads whole topics) and `group_offsets` (committed offsets).
`topics` creates and checks the topics. `conf` turns settings into librdkafka's keys, `clients` makes its clients, and
only `driver_errors` knows what its error codes mean.
"""
