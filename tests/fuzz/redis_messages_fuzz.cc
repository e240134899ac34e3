// SPDX-License-Identifier: Apache-2.0
//
// RedisMessages. An input's first byte says what for: the lowest bit a script, whose lines are what
// the server tells, and which says what is to be found; else the rest is what the server sends.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/redis_messages.h"
#include "tests/fuzz/fuzz_target.h"

namespace larder::fuzz {
namespace {

using internal::RedisMessages;
using From = RedisMessages::From;

constexpr std::string_view kPrefix = "app:";
constexpr std::string_view kProbe = "1";

enum InputBits : uint8_t { kScript = 1, kNotices = 2, kUnsubscribed = 4 };

From FromOf(uint8_t bits) { return (bits & kNotices) != 0 ? From::kNotices : From::kTracking; }

// What came of some bytes.
struct Outcome {
  bool ok = true;
  bool subscribed = false;
  bool probed = false;
  size_t pongs = 0;
  std::vector<std::string> keys;
  bool all = false;

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

// Feeds `bytes` in pieces of `piece`. After an error, nothing counts but that there was one.
Outcome OutcomeOf(From from, std::string_view bytes, size_t piece) {
  RedisMessages messages(from, std::string(kPrefix));
  messages.ExpectProbe(std::string(kProbe));
  Outcome outcome;
  while (!bytes.empty() && outcome.ok) {
    outcome.ok = messages.Feed(bytes.substr(0, piece)).ok();
    bytes.remove_prefix(std::min(piece, bytes.size()));
  }
  if (!outcome.ok) {
    FUZZ_CHECK(!messages.Feed("").ok());
    outcome = {};
    outcome.ok = false;
    return outcome;
  }
  FUZZ_CHECK(messages.has_changes() || messages.key_count() == 0);
  SharedTier::Changes changes = messages.TakeChanges();
  FUZZ_CHECK(!messages.has_changes());
  return {true,
          messages.subscribed(),
          messages.probed(),
          messages.pongs(),
          std::move(changes.keys),
          changes.all};
}

std::string Word(std::string_view text) {
  return "$" + std::to_string(text.size()) + "\r\n" + std::string(text) + "\r\n";
}

std::string Array(const std::vector<std::string>& elements) {
  std::string array = "*" + std::to_string(elements.size()) + "\r\n";
  for (const std::string& element : elements) array += element;
  return array;
}

std::string Message(From from, const std::string& payload) {
  const RedisMessages messages(from, std::string(kPrefix));
  return Array({Word("message"), Word(messages.channel()), payload});
}

std::string Subscribed(From from) {
  const RedisMessages messages(from, std::string(kPrefix));
  return Array({Word("subscribe"), Word(messages.channel()), ":1\r\n"});
}

constexpr std::string_view kPong = "*2\r\n$4\r\npong\r\n$0\r\n\r\n";

// A script as a server would send it, and what has to come of it. A line is the name of a key that
// has the prefix; after '!', one that hasn't; "?", a pong; "*", all keys. Keys of neighbouring
// lines are one message of client tracking.
std::string BytesOfScript(From from, std::string_view script, Outcome* outcome) {
  std::string bytes = Subscribed(from);
  outcome->subscribed = true;
  std::vector<std::string> names;
  const auto flush = [&] {
    if (!names.empty()) bytes += Message(from, Array(names));
    names.clear();
  };
  while (!script.empty()) {
    const std::string_view line = script.substr(0, script.find('\n'));
    script.remove_prefix(std::min(script.size(), line.size() + 1));
    if (line == "?") {
      flush();
      bytes += kPong;
      ++outcome->pongs;
    } else if (line == "*") {
      flush();
      bytes += Message(from, from == From::kTracking ? "$-1\r\n" : Word(internal::kAllNotice));
      outcome->all = true;
      outcome->keys.clear();
    } else if (line.starts_with('!')) {
      // Never has the prefix; there are no notices of such keys.
      if (from == From::kTracking) names.push_back(Word(line));
    } else {
      if (from == From::kTracking) {
        names.push_back(Word(std::string(kPrefix) + std::string(line)));
      } else {
        bytes += Message(from, Word(std::string(internal::kKeyNotice) + std::string(line)));
      }
      if (line.starts_with(internal::kProbeKey)) {
        outcome->probed |= line.substr(internal::kProbeKey.size()) == kProbe;
      } else if (std::find(outcome->keys.begin(), outcome->keys.end(), line) ==
                 outcome->keys.end()) {
        outcome->keys.emplace_back(line);
      }
    }
  }
  flush();
  return bytes;
}

}  // namespace

std::vector<std::string> Seeds() {
  const auto input = [](int bits, const std::string& rest) {
    return std::string(1, static_cast<char>(bits)) + rest;
  };
  std::vector<std::string> seeds = {""};
  for (const int notices : {0, int{kNotices}}) {
    const From from = FromOf(static_cast<uint8_t>(notices));
    for (const char* script : {"", "a\nb\na\n!c", "a\n?\nb\n*\nc\n?", "larder.probe.1\nlarder.p"}) {
      seeds.push_back(input(kScript | notices, script));
      Outcome ignored;
      seeds.push_back(input(notices, BytesOfScript(from, script, &ignored)));
    }
    for (const char* bytes : {"*3\r\n*4\r\n", "-NOPERM no\r\n", ":1\r\n", "+PONG\r\n", "$-1\r\n",
                              "*-1\r\n", "*2000000000\r\n", "*3\r\n*1048576\r\n*4\r\n"}) {
      seeds.push_back(input(notices, Subscribed(from) + bytes));
      seeds.push_back(input(notices | kUnsubscribed, bytes));
    }
  }
  return seeds;
}

}  // namespace larder::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace larder::fuzz;  // NOLINT
  if (size == 0) return 0;
  const uint8_t bits = data[0];
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const From from = (bits & kUnsubscribed) != 0 ? From::kNothing : FromOf(bits);
  std::string bytes(rest);
  Outcome expected;
  const bool scripted = (bits & kScript) != 0 && from != From::kNothing;
  if (scripted) bytes = BytesOfScript(from, rest, &expected);
  const Outcome whole = OutcomeOf(from, bytes, bytes.size() + 1);
  FUZZ_CHECK(!scripted || whole == expected);
  for (const size_t piece : {1, 7}) FUZZ_CHECK(OutcomeOf(from, bytes, piece) == whole);
  return 0;
}
