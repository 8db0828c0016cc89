# The cache directory of the container tests. The other scripts of this folder source this file.
# Everything under it may be deleted while no engine of ours runs.
# shellcheck shell=bash disable=SC2034
OMS_TEST_CACHE=${OMS_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/oms/containers}
mkdir -p "$OMS_TEST_CACHE"

# need COMMAND PACKAGE: install Debian's package where the command is missing.
need() {
  command -v "$1" >/dev/null && return
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "$1 is missing; install $2" >&2; return 1; }
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -yqq "$2"
}
