# SPDX-License-Identifier: Apache-2.0
"""Repositories made of the system's libraries, found through pkg-config.

They bear the names and targets that the Bazel Central Registry's modules have, so that the same
BUILD files work with either. Headers are taken from where pkg-config says they are: those in the
compiler's own path need no flag, other directories are linked into the repository.
"""

# Abseil's Bazel packages and targets. A target's pkg-config module is absl_<target>, unless named.
_ABSEIL = {
    "algorithm": {"algorithm": "", "container": "absl_algorithm_container"},
    "base": {"base": "", "config": "", "core_headers": "", "dynamic_annotations": "", "endian": "", "log_severity": "", "prefetch": ""},
    "cleanup": {"cleanup": ""},
    "container": {
        "btree": "",
        "fixed_array": "",
        "flat_hash_map": "",
        "flat_hash_set": "",
        "inlined_vector": "",
        "node_hash_map": "",
        "node_hash_set": "",
    },
    "crc": {"crc32c": ""},
    "debugging": {"failure_signal_handler": "", "leak_check": "", "stacktrace": "", "symbolize": ""},
    "flags": {"flag": "absl_flags", "parse": "absl_flags_parse", "usage": "absl_flags_usage"},
    "functional": {"any_invocable": "", "bind_front": "", "function_ref": ""},
    "hash": {"hash": ""},
    "memory": {"memory": ""},
    "meta": {"type_traits": ""},
    "numeric": {"bits": "", "int128": ""},
    "random": {"bit_gen_ref": "absl_random_bit_gen_ref", "distributions": "absl_random_distributions", "random": "absl_random_random"},
    "status": {"status": "", "statusor": ""},
    "strings": {"cord": "", "str_format": "", "strings": ""},
    "synchronization": {"synchronization": ""},
    "time": {"time": ""},
    "types": {"any": "", "compare": "", "optional": "", "span": "", "variant": ""},
    "utility": {"utility": ""},
}

# Abseil has these only from some version on; sources ask __has_include. Empty where they are missing.
_ABSEIL_OPTIONAL = ["absl_crc32c"]

_HEADER = """# Generated from pkg-config by larder's bazel/system.bzl.

load("@rules_cc//cc:defs.bzl", "cc_library")

package(default_visibility = ["//visibility:public"])
"""

_LIBRARY = """
cc_library(
    name = "{name}",
    defines = {defines},
    hdrs = glob({globs}),
    includes = {includes},
    linkopts = {linkopts},
)
"""

def _pkg_config(ctx):
    tool = ctx.os.environ.get("PKG_CONFIG") or ctx.which("pkg-config")
    if not tool:
        fail("larder: pkg-config was not found; install pkg-config (Debian, Ubuntu)")
    return str(tool)

def _query(ctx, modules, package, optional = False):
    """The flags, as a list; None for modules that are optional and not there."""
    result = ctx.execute([_pkg_config(ctx), "--cflags", "--libs"] + modules)
    if result.return_code != 0 and optional:
        return None
    if result.return_code != 0:
        fail("larder: pkg-config does not find %s; install %s (Debian, Ubuntu).\n%s" % (
            " ".join(modules),
            package,
            result.stderr,
        ))
    return [flag for flag in result.stdout.replace("\n", " ").split(" ") if flag]

def _is_builtin(directory):
    """The compiler looks here by itself, or the header is named with its folder (hiredis/...)."""
    return directory == "/usr/include" or directory.startswith("/usr/include/")

def _library(ctx, bazel_package, name, flags, extra_linkopts = []):
    """A cc_library's text; links include directories into the repository where one is needed."""
    defines = []
    includes = []
    linkopts = []
    for flag in flags:
        if flag.startswith("-D"):
            defines.append(flag[2:])
        elif flag.startswith("-I"):
            if not _is_builtin(flag[2:]):
                include = "include" + flag[2:].replace("/", "_")
                path = (bazel_package + "/" if bazel_package else "") + include
                if not ctx.path(path).exists:
                    ctx.symlink(flag[2:], path)
                includes.append(include)
        elif flag.startswith("-l") or flag.startswith("-L") or flag.startswith("-Wl,") or flag == "-pthread":
            linkopts.append(flag)
    return _LIBRARY.format(
        name = name,
        defines = repr(defines),
        globs = repr([i + "/**" for i in includes]),
        includes = repr(includes),
        linkopts = repr(linkopts + extra_linkopts),
    )

def _system_library_impl(ctx):
    text = _HEADER
    for name, modules in ctx.attr.libraries.items():
        flags = _query(ctx, modules.split(" "), ctx.attr.package, optional = bool(ctx.attr.optional_define))
        if flags == None:
            flags = []
        elif ctx.attr.optional_define:
            flags.append("-D" + ctx.attr.optional_define)
        text += _library(ctx, "", name, flags, ctx.attr.extra_linkopts.get(name, []))
    ctx.file("BUILD.bazel", text)

system_library = repository_rule(
    implementation = _system_library_impl,
    doc = "Targets of one library: name -> pkg-config modules, separated by a blank.",
    attrs = {
        "libraries": attr.string_dict(mandatory = True),
        "extra_linkopts": attr.string_list_dict(doc = "What pkg-config does not say, by target."),
        "optional_define": attr.string(doc = "If set, the library may be missing: its targets are then empty, else they define this."),
        "package": attr.string(mandatory = True, doc = "What to install if it is missing."),
    },
    environ = ["PKG_CONFIG", "PKG_CONFIG_PATH"],
    local = True,
)

def _system_abseil_impl(ctx):
    listing = ctx.execute([_pkg_config(ctx), "--list-all"]).stdout
    known = {line.split(" ")[0]: True for line in listing.split("\n")}
    if "absl_status" not in known:
        fail("larder: pkg-config does not find abseil; install libabsl-dev (Debian, Ubuntu)")
    for bazel_package, targets in _ABSEIL.items():
        text = _HEADER
        for name, module in targets.items():
            module = module or "absl_" + name
            # Which parts abseil has depends on its version.
            if module in known:
                package = "absl/" + bazel_package
                text += _library(ctx, package, name, _query(ctx, [module], "libabsl-dev"))
            elif module in _ABSEIL_OPTIONAL:
                text += _library(ctx, package, name, [])
        ctx.file("absl/%s/BUILD.bazel" % bazel_package, text)

system_abseil = repository_rule(
    implementation = _system_abseil_impl,
    doc = "Abseil under its canonical labels, such as //absl/status:statusor.",
    environ = ["PKG_CONFIG", "PKG_CONFIG_PATH"],
    local = True,
)

def benchmark_peers():
    """What the benchmarks compare larder with, where it is installed."""
    system_library(
        name = "rocksdb",
        libraries = {"rocksdb": "rocksdb"},
        optional_define = "LARDER_BENCH_HAS_ROCKSDB",
        package = "librocksdb-dev",
    )
    system_library(
        name = "onetbb",
        libraries = {"tbb": "tbb"},
        optional_define = "LARDER_BENCH_HAS_TBB",
        package = "libtbb-dev",
    )
