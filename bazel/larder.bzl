# SPDX-License-Identifier: Apache-2.0
"""How larder's own targets are declared."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")

_HEADERS_ALONE = ".headers_alone"

def larder_library(
        name,
        hdrs = [],
        private_hdrs = [],
        srcs = [],
        deps = [],
        visibility = ["//:__subpackages__"],
        **kwargs):
    """One unit of the library; to be called in //src.

    Args:
      name: the unit.
      hdrs: its headers, relative to include/larder.
      private_hdrs: or, if users never see them, relative to src. A unit has either.
      srcs: its sources, relative to src.
      deps: all it includes. A header of a unit that is not named here, straight or through others,
        is not found by the compiler: that is what keeps the layers apart.
      visibility: internal units are for this repository only.
      **kwargs: as for cc_library.
    """
    if hdrs and private_hdrs:
        fail("larder: the unit %s has headers both in include and in src" % name)
    cc_library(
        name = name,
        hdrs = ["//include:larder/" + h for h in hdrs] + private_hdrs,
        srcs = srcs,
        strip_include_prefix = "/include" if hdrs else None,
        deps = deps,
        visibility = visibility,
        **kwargs
    )

    # Compiled alone, a header shows whether it includes all it needs, and no more than its unit may
    # see. A unit without sources would otherwise only be compiled where all others are seen.
    included = ["larder/" + h for h in hdrs] + ["src/" + h for h in private_hdrs]
    if included:
        cc_library(
            name = name + _HEADERS_ALONE,
            testonly = True,
            srcs = ["//bazel:empty.cc"],
            copts = [option for h in included for option in ("-include", h)],
            deps = [":" + name],
        )

def larder_everything(name, **kwargs):
    """All units of the package that were declared above this call, for tests and benchmarks."""
    cc_library(
        name = name,
        deps = [
            ":" + unit
            for unit in native.existing_rules()
            if not unit.endswith(_HEADERS_ALONE)
        ],
        **kwargs
    )

def larder_programs(rule, srcs, **kwargs):
    """One target for each source, named as the source is: spec/put_test.cc becomes spec/put_test."""
    for src in srcs:
        rule(name = src[:-len(".cc")], srcs = [src], **kwargs)

def larder_tests(srcs, data = [], **kwargs):
    larder_programs(cc_test, srcs, data = data + ["//bazel:tsan.supp"], **kwargs)

def larder_binaries(srcs, **kwargs):
    larder_programs(cc_binary, srcs, **kwargs)

def larder_fuzz_targets(srcs, deps, test_deps = []):
    """Two programs for each NAME_fuzz.cc: NAME, with libFuzzer, and NAME_replay, a test.

    Args:
      srcs: the targets' sources, in the package's folder.
      deps: what all of them need.
      test_deps: what replay.cc needs.
    """
    for src in srcs:
        name = src[:-len("_fuzz.cc")]
        corpus = "corpus/" + name
        cc_test(
            name = name + "_replay",
            srcs = [src, "replay.cc"],
            args = [native.package_name() + "/" + corpus],
            data = native.glob([corpus + "/*"]) + ["//bazel:tsan.supp"],
            deps = deps + test_deps,
        )

        # To be built with --config=fuzz.
        cc_binary(
            name = name,
            testonly = True,
            srcs = [src, "write_seeds.cc"],
            linkopts = ["-fsanitize=fuzzer"],
            tags = ["manual"],
            deps = deps,
        )
