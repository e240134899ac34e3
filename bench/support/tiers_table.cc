// SPDX-License-Identifier: Apache-2.0

#include "bench/support/tiers_table.h"

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "bench/support/cycle_timer.h"
#include "bench/support/latency_counters.h"
#include "bench/support/result_table.h"
#include "bench/support/text_table.h"
#include "bench/support/tier_parts.h"
#include "benchmark/benchmark.h"

namespace larder::bench {
namespace {

struct TierRow {
  std::string_view benchmark;
  std::string_view title;
  std::string_view documented;
};

constexpr std::array<TierRow, 4> kTiers = {{
    {"BM_Tier/memory", "memory: larder, in this process", "0.1 ms"},
    {"BM_Tier/redis", "Redis, over loopback", "–"},
    {"BM_Tier/redis_1ms_network", "Redis, 1 ms of network away", "1–5 ms"},
    {"BM_Tier/database", "database: SQLite, held back", "50–200 ms"},
}};

struct FlowRow {
  std::string_view benchmark;
  std::string_view title;
};

constexpr std::array<FlowRow, 5> kFlows = {{
    {"BM_RequestFlow/none", "no cache"},
    {"BM_RequestFlow/redis", "Redis only"},
    {"BM_RequestFlow/larder", "larder only"},
    {"BM_RequestFlow/larder_redis", "larder in front of Redis"},
    {"BM_SecondServer/larder_redis", "second server, Redis warm (*)"},
}};

// The flows whose cached answers are shown beside the tiers.
constexpr std::array<FlowRow, 2> kCachedFlows = {{
    {"BM_RequestFlow/redis", "a cached answer, Redis only"},
    {"BM_RequestFlow/larder", "a cached answer, larder only"},
}};

std::string Micros(const std::map<std::string, double>& counters, const std::string& name) {
  return FormatNanos(counters.at(name) * kNanosPerMicro);
}

std::string Millis(const std::map<std::string, double>& counters, const std::string& name) {
  return FormatNanos(counters.at(name) * kNanosPerMilli);
}

}  // namespace

std::string TiersTable::Format() const {
  const CycleTimer& timer = CycleTimer::Get();
  return absl::StrCat(
      "\nEach figure is of single operations, timed one by one with ", std::string(timer.name()),
      "; a timing itself takes\n", absl::StrFormat("%.0f ns", timer.CostNanos()),
      ", which is part of every figure.\n", FormatTiers(), FormatFlows(), FormatAskers());
}

std::string TiersTable::FormatTiers() const {
  TextTable table;
  table.AddRow(
      {"ONE ANSWER FROM", "documented", "p50", "p99", "p99.9", "slower than the row above"});
  double above = 0;
  bool any = false;
  for (const TierRow& tier : kTiers) {
    const Result* result = Find(std::string(tier.benchmark));
    if (result == nullptr) continue;
    any = true;
    const std::string title(tier.title);
    if (!result->error.empty()) {
      table.AddNote(title, result->error);
      continue;
    }
    const double p50 = result->counters.at("p50_us");
    table.AddRow({title, std::string(tier.documented), Micros(result->counters, "p50_us"),
                  Micros(result->counters, "p99_us"), Micros(result->counters, "p999_us"),
                  above > 0 ? FormatRatio(p50 / above) : ""});
    above = p50;
  }
  for (const FlowRow& flow : kCachedFlows) {
    const Result* result = Find(std::string(flow.benchmark));
    if (result == nullptr || !result->error.empty()) continue;
    any = true;
    table.AddRow({std::string(flow.title), "under 5 ms", Millis(result->counters, "cached_p50_ms"),
                  Millis(result->counters, "cached_p99_ms"),
                  Millis(result->counters, "cached_p999_ms")});
  }
  return any ? absl::StrCat("\n", table.Format(), FormatTierRatios()) : "";
}

std::string TiersTable::FormatTierRatios() const {
  const Result* memory = Find("BM_Tier/memory");
  if (memory == nullptr || !memory->error.empty()) return "";
  std::vector<std::string> ratios;
  for (const FlowRow& other : {FlowRow{"BM_Tier/redis_1ms_network", "Redis 1 ms away"},
                               FlowRow{"BM_Tier/database", "the database"}}) {
    const Result* result = Find(std::string(other.benchmark));
    if (result == nullptr || !result->error.empty()) continue;
    const double ratio = result->counters.at("p50_us") / memory->counters.at("p50_us");
    ratios.push_back(absl::StrCat(FormatRatio(ratio), " faster than ", std::string(other.title)));
  }
  if (ratios.empty()) return "";
  return absl::StrCat("  Memory answers ", absl::StrJoin(ratios, ", and "), " (p50).\n");
}

std::string TiersTable::FormatFlows() const {
  TextTable table;
  table.AddRow({"REQUEST FLOW", "mean", "p50", "p95", "p99", "p99.9", "requests/s", "hit ratio",
                "queries per 1,000"});
  bool any = false;
  for (const FlowRow& flow : kFlows) {
    const Result* result = Find(std::string(flow.benchmark));
    if (result == nullptr) continue;
    any = true;
    const std::string title(flow.title);
    if (!result->error.empty()) {
      table.AddNote(title, result->error);
      continue;
    }
    const auto& counters = result->counters;
    table.AddRow({title, Millis(counters, "mean_ms"), Millis(counters, "p50_ms"),
                  Millis(counters, "p95_ms"), Millis(counters, "p99_ms"),
                  Millis(counters, "p999_ms"), FormatCount(counters.at("requests_per_s")),
                  absl::StrFormat("%.1f%%", 100 * counters.at("hit_ratio")),
                  FormatCount(counters.at("database_queries_per_1000"))});
  }
  if (!any) return "";
  std::string text = absl::StrFormat(
      "\n%s  %d requesters ask for %s products (Zipf %.2f): 6,000 requests without a cache, 40,000 "
      "with one, which\n  is cold at first; Redis is 1 ms of network away. Hit ratio: share of "
      "requests that needed no database query of their own.\n",
      table.Format(), kRequesters, FormatCount(kProducts), kZipfExponent);
  if (Find("BM_SecondServer/larder_redis") != nullptr) {
    text +=
        "  (*) It joins later: larder in front of Redis, its memory cold, Redis complete; 8 "
        "requesters.\n";
  }
  return text;
}

std::string TiersTable::FormatAskers() const {
  const Result* result = Find("BM_ThousandAskers");
  if (result == nullptr) return "";
  if (!result->error.empty()) return absl::StrCat("\n  A THOUSAND ASKERS  ", result->error, "\n");
  const auto& counters = result->counters;
  TextTable table;
  table.AddRow({"A THOUSAND ASKERS", "database queries", "longest load", "longest wait"});
  table.AddRow({"1,000 threads, one cold product, larder", FormatCount(counters.at("loads")),
                Millis(counters, "longest_load_ms"), Millis(counters, "longest_wait_ms")});
  return absl::StrFormat(
      "\n%s  The worst of %d rounds. Without one load per key it would be up to "
      "1,000 queries.\n",
      table.Format(), static_cast<int>(counters.at("rounds")));
}

}  // namespace larder::bench
