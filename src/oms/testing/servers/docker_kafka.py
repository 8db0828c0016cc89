"""The container of the official image `apache/kafka`: testcontainers' own class supports only Confluent's scripts."""

from __future__ import annotations

import re
from typing import Self

from testcontainers.community.kafka import KafkaContainer

START_S = 120
SETTINGS = {
    "CLUSTER_ID": "4L6g3nShT-eMCtK--X86sw",
    "KAFKA_NODE_ID": "1",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_LISTENERS": "PLAINTEXT://0.0.0.0:9092,BROKER://0.0.0.0:9093,CONTROLLER://0.0.0.0:9094",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "KAFKA_INTER_BROKER_LISTENER_NAME": "BROKER",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9094",
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_NUM_PARTITIONS": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "500",
}


class ApacheKafka(KafkaContainer):
    """One KRaft node of `apache/kafka`.

    The advertised address contains the port that the engine chooses when the container starts. So, as in
    testcontainers' own class, the container first waits for a script; this script sets the address and runs the image's
    own `/etc/kafka/docker/run`.
    """

    def __init__(self, image: str) -> None:
        super().__init__(image, port=9092)
        self.env = dict(SETTINGS)

    def start(self, timeout: int = START_S) -> Self:
        """Start and wait for the line `Kafka Server started`, for at most `timeout` seconds."""
        return super().start(timeout)

    def configure(self) -> None:
        """Wait for the line of a started server; all settings are in the constructor."""
        self.wait_for = re.compile(r".*Kafka Server started.*")

    def tc_start(self) -> None:
        """Copy the script for which the container waits into it."""
        address = f"PLAINTEXT://{self.get_bootstrap_server()},BROKER://localhost:9093"
        script = f"#!/bin/sh\nexport KAFKA_ADVERTISED_LISTENERS={address}\nexec /etc/kafka/docker/run\n"
        self.create_file(script.encode(), self.TC_START_SCRIPT)
