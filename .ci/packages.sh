# SPDX-License-Identifier: Apache-2.0
#
# Shared by bench/run, tests/run and .ci/run, which source it (bash):
#
#   larder_require_packages PKG...   installs what is missing, or says what is missing and exits 1
#   larder_try_packages PKG...       the same, but returns 1 instead of exiting
#   larder_bazel COMMAND ARG...      Bazel from the repository's root
#
# A PKG is the name of a Debian or Ubuntu package. `PKG:COMMAND` is satisfied by the command too,
# wherever it came from: `bazel-bootstrap:bazel` accepts a Bazel that was not packaged by Debian.
# LARDER_SKIP_PACKAGES=1 trusts the machine and checks nothing, for systems without dpkg.

LARDER_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# What it takes to build the library, its tests and its benchmarks with Bazel.
LARDER_BAZEL_PACKAGES=(
  g++:g++ bazel-bootstrap:bazel pkg-config:pkg-config
  libabsl-dev libgtest-dev libgmock-dev libbenchmark-dev libhiredis-dev libssl-dev
  libsqlite3-dev
)
# Debian's Bazel has these rules in packages of their own; another Bazel brings its own.
if ! command -v bazel > /dev/null 2>&1 || [[ -d /usr/share/bazel ]]; then
  LARDER_BAZEL_PACKAGES+=(bazel-rules-java bazel-rules-proto)
fi
# Caches that the benchmarks compare larder with; without them the rest is measured.
LARDER_PEER_PACKAGES=(librocksdb-dev libtbb-dev)
# What the tests run beside themselves.
LARDER_TEST_PACKAGES=(redis-server:redis-server xz-utils:xz)
# What the CMake and clang configurations add.
LARDER_CMAKE_PACKAGES=(cmake:cmake ninja-build:ninja clang:clang++ ccache:ccache)

# Prints those of the packages that are not installed, one a line.
larder_missing_packages() {
  local spec package command
  for spec in "$@"; do
    package="${spec%%:*}"
    command=""
    [[ "$spec" == *:* ]] && command="${spec#*:}"
    if [[ -n "$command" ]] && command -v "$command" > /dev/null 2>&1; then continue; fi
    if [[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null)" == installed ]]; then
      continue
    fi
    printf '%s\n' "$package"
  done
}

# Runs a command as root: directly, or through sudo (which may ask only where a person can answer).
larder_as_root() {
  if [[ "$(id -u)" == 0 ]]; then
    "$@"
  elif ! command -v sudo > /dev/null 2>&1; then
    echo "larder: not root, and there is no sudo" >&2
    return 1
  elif [[ -t 0 && -t 2 ]]; then
    sudo "$@"
  else
    sudo -n "$@"
  fi
}

larder_apt_install() {
  if ! command -v apt-get > /dev/null 2>&1; then
    echo "larder: there is no apt-get on this machine" >&2
    return 1
  fi
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
  # A fresh machine has no package lists, another may have stale ones. Where they cannot be
  # fetched, the lists at hand may still do.
  larder_as_root "${apt[@]}" update >&2 || echo "larder: apt-get update failed" >&2
  larder_as_root "${apt[@]}" install --no-install-recommends "$@" >&2
}

larder_try_packages() {
  [[ "${LARDER_SKIP_PACKAGES:-0}" == 1 ]] && return 0
  local missing
  mapfile -t missing < <(larder_missing_packages "$@")
  [[ ${#missing[@]} -eq 0 ]] && return 0
  echo "larder: installing ${missing[*]}" >&2
  larder_apt_install "${missing[@]}" || true
  mapfile -t missing < <(larder_missing_packages "$@")
  [[ ${#missing[@]} -eq 0 ]] && return 0
  echo "larder: missing packages that could not be installed: ${missing[*]}" >&2
  return 1
}

larder_require_packages() {
  larder_try_packages "$@" && return 0
  echo "larder: install them (Debian/Ubuntu: apt-get install ...) and run this again;" \
    "LARDER_SKIP_PACKAGES=1 skips this check" >&2
  exit 1
}

# Bazel wants a home directory for its cache, which a CI job may not have.
larder_bazel() {
  (
    cd "$LARDER_ROOT" || exit 1
    if [[ -z "${HOME:-}" ]]; then
      HOME="$(getent passwd "$(id -u)" | cut -d: -f6)"
      [[ -d "$HOME" && -w "$HOME" ]] || HOME="${TMPDIR:-/tmp}"
      export HOME
    fi
    exec bazel "$@"
  )
}
