# SPDX-License-Identifier: Apache-2.0
"""For MODULE.bazel: repositories that no registry has, from the system's libraries."""

load(":system.bzl", "benchmark_peers")

def _peers(_context):
    benchmark_peers()

peers = module_extension(implementation = _peers)
