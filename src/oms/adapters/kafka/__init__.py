"""The log in Apache Kafka, through confluent-kafka (librdkafka).

`log` is the broker, on top of `producer` (sends and waits for the reports), `subscription` (one member of a group) and,
for evidence, `records` (the whole log) and `groups` (how far a group is); `topics` makes and checks the topics; `conf`
turns settings into librdkafka's keys, and `border` is the only file that knows what its errors mean.
"""
