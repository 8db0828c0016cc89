"""Apache Kafka's jars: fetched once from Maven Central into this user's cache.

The module imports only the standard library, so that it also runs as a script: `python jars.py` fetches the jars if
they are missing, and prints the folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "4.3.1"
LIBS = "OMS_KAFKA_LIBS"
FETCH_S = 600
"""Time limit of the download of 45 jars (45 MB), in seconds; enough for a slow connection."""
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>oms.testing</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version>
    </dependency>
  </dependencies>
</project>
"""


class NoJars(RuntimeError):
    """The jars are missing and can't be fetched. The text is the reason, in one line."""


def folder() -> Path:
    """Return the folder for the jars: `OMS_KAFKA_LIBS`, else one in the user's cache."""
    given = os.environ.get(LIBS)
    if given:
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "oms" / f"kafka-{VERSION}"


def archive() -> Path:
    """Return the path of Java's archive of Kafka's classes, which may not exist yet."""
    return folder() / "classes.jsa"


def present() -> bool:
    """Whether the jars are in the folder, which appears only when it is complete."""
    return any(folder().glob("kafka_2.13-*.jar"))


def fetched() -> Path:
    """Return the folder of the jars; fetch them with Maven if they're missing.

    Raises:
        NoJars: they're missing, and Maven is missing too or failed.
    """
    if present():
        return folder()
    if os.environ.get(LIBS):
        raise NoJars(f"{LIBS} is {folder()}, and no kafka_2.13-*.jar is there")
    if shutil.which("mvn") is None:
        raise NoJars(f"no Kafka jars in {folder()}, and no mvn on PATH to fetch them")
    _fetch(folder())
    return folder()


def _fetch(target: Path) -> None:
    """Fetch into a folder next to the target and rename it, so that no process sees an incomplete folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as made:
        pom = Path(made) / "pom.xml"
        pom.write_text(POM)
        _maven(pom, Path(made) / "libs")
        try:
            (Path(made) / "libs").rename(target)
        except OSError:  # another process was first
            if not present():
                raise


def _maven(pom: Path, libs: Path) -> None:
    argv = [
        "mvn",
        "--quiet",
        "--batch-mode",
        "--strict-checksums",
        "--file",
        str(pom),
        COPY,
        f"-DoutputDirectory={libs}",
    ]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=FETCH_S)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise NoJars(f"mvn didn't fetch Kafka's jars within {FETCH_S} s") from None
    if done.returncode:
        said = next((line for line in done.stdout.splitlines() if "ERROR" in line), f"exit code {done.returncode}")
        raise NoJars(f"mvn can't fetch Kafka's jars: {said}")


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{fetched()}\n")
    except NoJars as missing:
        sys.exit(str(missing))
