// SPDX-License-Identifier: Apache-2.0

#include "bench/support/machine.h"

#include <sys/utsname.h>

#include <fstream>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/support/cycle_timer.h"
#include "benchmark/benchmark.h"

namespace larder::bench {
namespace {

// As the kernel names it, "unknown" where it does not.
std::string ProcessorModel() {
  constexpr std::string_view kField = "model name";
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with(kField) && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

std::string Kernel() {
  utsname name;
  if (uname(&name) != 0) return "unknown";
  return absl::StrCat(name.sysname, " ", name.release, " ", name.machine);
}

std::string Compiler() {
#if defined(__clang__)
  return absl::StrCat("clang ", __clang_version__);
#else
  return absl::StrCat("gcc ", __VERSION__);
#endif
}

}  // namespace

void AddMachineContext() {
  const CycleTimer& timer = CycleTimer::Get();
  benchmark::AddCustomContext("processor", ProcessorModel());
  benchmark::AddCustomContext("kernel", Kernel());
  benchmark::AddCustomContext("compiler", Compiler());
#if defined(NDEBUG)
  benchmark::AddCustomContext("assertions", "off");
#else
  benchmark::AddCustomContext("assertions", "on");
#endif
  benchmark::AddCustomContext("timer", std::string(timer.name()));
  benchmark::AddCustomContext("timer_ns", absl::StrFormat("%.1f", timer.CostNanos()));
}

}  // namespace larder::bench
