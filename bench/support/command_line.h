// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_COMMAND_LINE_H_
#define LARDER_BENCH_SUPPORT_COMMAND_LINE_H_

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace larder::bench {

// The value of the last --<flag>=VALUE among `arguments`; `otherwise` without one.
std::string FlagValue(std::span<char* const> arguments, std::string_view flag,
                      std::string otherwise = "");

// The same, and takes all of them out: Google Benchmark refuses what it doesn't know.
std::string TakeFlag(std::vector<char*>& arguments, std::string_view flag,
                     std::string otherwise = "");

// Where figures go that Google Benchmark's own file, `out`, has no place for: "results.json" and
// "timeline" make "results_timeline.json".
std::string PathBeside(std::string_view out, std::string_view what);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_COMMAND_LINE_H_
