#!/usr/bin/env bash
# Images under the names that docker-compose.yml, the Dockerfile and testcontainers ask for, made without an image
# registry: Debian by debootstrap, servers from its packages, Kafka from Maven Central. For tests only: nothing of them
# goes into the project's own image but its base. Safe to repeat; what is there and unchanged is left alone.
#
#     scripts/stack/standins.sh          # needs root (debootstrap) and a Docker engine
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/cache.sh"
cache=$OMS_TEST_CACHE
LABEL=oms.standin
KAFKA_VERSION=4.3.1

# Whether image $1 was made from the files whose digest is $2.
made_from() {
  [ "$(docker image inspect --format "{{index .Config.Labels \"$LABEL\"}}" "$1" 2>/dev/null)" = "$2" ]
}

digest_of() { find "$@" -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16; }

debian() {
  local tar="$cache/debian-bookworm.tar" root="$cache/debian-root"
  if [ ! -s "$tar" ]; then
    need debootstrap debootstrap
    rm -rf "$root"
    debootstrap --variant=minbase bookworm "$root" >"$cache/debootstrap.log" || { tail -n 5 "$cache/debootstrap.log" >&2; exit 1; }
    slim "$root"
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}
    tar -C "$root" -cf "$tar.part" . && mv "$tar.part" "$tar" && rm -rf "$root"
  fi
  local digest; digest=$(stat -c '%s-%Y' "$tar")
  made_from oms-standin/debian:bookworm "$digest" && return
  say debian; docker import --change "LABEL $LABEL=$digest" "$tar" oms-standin/debian:bookworm >/dev/null
}

# As Debian's own images have it: no fsync for each file that a build unpacks, no documentation.
slim() {
  echo force-unsafe-io > "$1/etc/dpkg/dpkg.cfg.d/images"
  printf 'path-exclude %s\n' '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*' >> "$1/etc/dpkg/dpkg.cfg.d/images"
  echo 'Acquire::Languages "none";' > "$1/etc/apt/apt.conf.d/images"
}

say() { echo "stand-in: $1"; }

# build NAME TAG...: the folder standins/NAME, with the files that `prepare_NAME` adds to it.
build() {
  local name=$1 context digest tag
  shift
  context=$(mktemp -d)
  cp -r "$here/standins/$name/." "$context"
  if declare -F "prepare_$name" >/dev/null; then "prepare_$name" "$context"; fi
  digest=$( (cd "$context" && digest_of . ; docker image inspect --format '{{.Id}}' oms-standin/debian:bookworm) | sha256sum | cut -c1-16)
  if ! made_from "$1" "$digest"; then
    say "$1"
    DOCKER_BUILDKIT=0 docker build --quiet --force-rm --label "$LABEL=$digest" --tag "$1" "$context" >"$cache/build.log" 2>&1 \
      || { tail -n 20 "$cache/build.log" >&2; exit 1; }
  fi
  for tag in "${@:2}"; do docker tag "$1" "$tag"; done
  rm -rf "$context"
}

prepare_python() { # the machine's certificates and index: what pip on this machine uses, pip in the image uses
  cp "${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}" "$1/machine-ca.pem"
  {
    printf '[global]\ncert = /etc/ssl/machine-ca.pem\ndisable-pip-version-check = true\n'
    [ -z "${PIP_INDEX_URL:-}" ] || echo "index-url = $PIP_INDEX_URL"
    [ -z "${PIP_PROXY:-}" ] || echo "proxy = $PIP_PROXY"
  } > "$1/pip.conf"
}

prepare_kafka() {
  local libs="$cache/kafka-$KAFKA_VERSION"
  if [ ! -d "$libs" ]; then
    need mvn maven
    rm -rf "$libs.part"
    mvn -q -B -Dstyle.color=never -f "$here/standins/kafka/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$libs.part"
    mv "$libs.part" "$libs"
  fi
  cp -r "$libs" "$1/libs"
}

debian
build python python:3.11-slim-bookworm
build redis redis:7.0-bookworm redis:latest
build postgres postgres:15-bookworm postgres:latest
build haproxy haproxy:2.6-bookworm
build kafka "apache/kafka:$KAFKA_VERSION" confluentinc/cp-kafka:7.6.0
