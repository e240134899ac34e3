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

    # Compiled first in its own .cc, a header shows whether it includes all it needs, and no more than
    # its unit may see. One that has none is compiled alone.
    first = [src[:-len(".cc")] for src in srcs]
    alone = [
        folder + h
        for folder, headers in [("larder/", hdrs), ("src/", private_hdrs)]
        for h in headers
        if h.split("/")[-1][:-len(".h")] not in first
    ]
    if alone:
        cc_library(
            name = name + _HEADERS_ALONE,
            testonly = True,
            srcs = ["//bazel:empty.cc"],
            copts = [option for h in alone for option in ("-include", h)],
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

def larder_tests(srcs, together = {}, data = [], deps = [], **kwargs):
    """One test for each source, named as the source is.

    Args:
      srcs: the sources.
      together: name to sources, which are also in srcs: that many are compiled as one, in the order
        given, and are one test. Most of what a test's compiler does is the same for others like it.
        What such sources declare must differ, namespaces without a name included. Each still is a
        test of its own for who asks for it, but not among all.
      data: for all tests.
      deps: for all tests.
      **kwargs: as for cc_test.
    """
    data = data + ["//bazel:tsan.supp"]
    shared = {}
    for name, parts in together.items():
        for part in parts:
            shared[part] = name
        cc_library(
            name = name + ".parts",
            testonly = True,
            textual_hdrs = parts,
        )
        included = [native.package_name() + "/" + part for part in parts]
        cc_test(
            name = name,
            srcs = ["//bazel:empty.cc"],
            copts = [option for part in included for option in ("-include", part)] +
                    # gcc takes what isn't in the main file for a header.
                    ["-Wno-subobject-linkage"],
            data = data,
            deps = deps + [":" + name + ".parts"],
            **kwargs
        )
    for src in srcs:
        cc_test(
            name = src[:-len(".cc")],
            srcs = [src],
            data = data,
            deps = deps,
            tags = ["manual"] if src in shared else [],
            **kwargs
        )

def larder_binaries(srcs, **kwargs):
    """One program for each source, named as the source is: memory_bench.cc becomes memory_bench."""
    for src in srcs:
        cc_binary(name = src[:-len(".cc")], srcs = [src], **kwargs)

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
