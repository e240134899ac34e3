# SPDX-License-Identifier: Apache-2.0
"""Stands in for rules_cc with Bazel 4, which has the C++ rules built in.

Debian's own bazel-rules-cc needs a newer Bazel than Debian's Bazel is.
"""

def cc_library(**kwargs):
    native.cc_library(**kwargs)

def cc_binary(**kwargs):
    native.cc_binary(**kwargs)

def cc_test(**kwargs):
    native.cc_test(**kwargs)

def cc_import(**kwargs):
    native.cc_import(**kwargs)

def cc_toolchain(**kwargs):
    native.cc_toolchain(**kwargs)

def cc_toolchain_suite(**kwargs):
    native.cc_toolchain_suite(**kwargs)
