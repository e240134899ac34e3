// SPDX-License-Identifier: Apache-2.0

#include "bench/support/command_line.h"

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace larder::bench {
namespace {

std::string Start(std::string_view flag) { return absl::StrCat("--", std::string(flag), "="); }

}  // namespace

std::string FlagValue(std::span<char* const> arguments, std::string_view flag,
                      std::string otherwise) {
  const std::string start = Start(flag);
  for (const std::string_view argument : arguments) {
    if (argument.starts_with(start)) otherwise = argument.substr(start.size());
  }
  return otherwise;
}

std::string TakeFlag(std::vector<char*>& arguments, std::string_view flag, std::string otherwise) {
  std::string value = FlagValue(arguments, flag, std::move(otherwise));
  std::erase_if(arguments, [start = Start(flag)](std::string_view argument) {
    return argument.starts_with(start);
  });
  return value;
}

std::string PathBeside(std::string_view out, std::string_view what) {
  constexpr std::string_view kSuffix = ".json";
  if (out.ends_with(kSuffix)) out.remove_suffix(kSuffix.size());
  return absl::StrCat(std::string(out), "_", std::string(what), ".json");
}

}  // namespace larder::bench
