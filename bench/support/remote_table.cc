// SPDX-License-Identifier: Apache-2.0

#include "bench/support/remote_table.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "bench/support/invalidation_delay.h"
#include "bench/support/latency_counters.h"
#include "bench/support/outage_results.h"
#include "bench/support/redis_outage.h"
#include "bench/support/redis_outage_results.h"
#include "bench/support/redis_throughput.h"
#include "bench/support/requests.h"
#include "bench/support/text_table.h"
#include "bench/support/tier_parts.h"
#include "larder/remote_stats.h"

namespace larder::bench {
namespace {

struct Named {
  std::string_view name;
  std::string_view title;
};

constexpr std::array<Named, 8> kPlaces = {{{"memory_alone", "memory, no Redis behind"},
                                           {"memory", "memory"},
                                           {"socket", "Redis, Unix socket"},
                                           {"loopback", "Redis, TCP on loopback"},
                                           {"tls", "Redis, TLS on loopback"},
                                           {"distant", "Redis, 1 ms away"},
                                           {"database_alone", "database, no Redis"},
                                           {"database", "database behind Redis"}}};
constexpr std::array<std::string_view, 4> kRequests = {"tier_get", "hit", "miss", "put"};

std::string TitleOf(const InvalidationPlan& plan) {
  return absl::StrCat(plan.place == RedisPlace::kDistant ? "Redis 1 ms away" : "Redis on loopback",
                      plan.own_copies ? ", copies of its own" : "");
}

// Where each table shows what of an event.
constexpr absl::Duration kBeforeEvent = absl::Milliseconds(200);
constexpr absl::Duration kAfterEvent = absl::Milliseconds(1'000);

std::string FormatShare(double part, double of) {
  return of == 0 ? "" : absl::StrFormat("%.1f%%", 100 * part / of);
}

std::string FormatTime(absl::Duration time) { return FormatNanos(absl::ToDoubleNanoseconds(time)); }

}  // namespace

std::string RemoteTable::Format() const {
  std::string text = FormatLatencies();
  text += FormatGets("shared", "THREADS, ONE CONNECTION", "-c 1 -P threads");
  text += FormatGets("own", "THREADS, A CONNECTION EACH", "-c threads -P 1");
  text += FormatGets("many", "KEYS OF ONE CALL (GetMany)", "-c 1 -P keys");
  text += FormatInvalidations();
  for (const RedisOutagePlan& plan : RedisOutagePlans()) text += FormatOutage(plan);
  return text + FormatFailures();
}

std::string RemoteTable::FormatLatencies() const {
  TextTable table;
  table.AddRow({"ONE REQUEST", "RedisTier::Get", "p99", "Get, there", "p99", "Get, not there",
                "p99", "Put", "p99"});
  bool any = false;
  for (const auto& [name, title] : kPlaces) {
    std::vector<std::string> row = {std::string(title)};
    bool measured = false;
    for (const std::string_view request : kRequests) {
      const Result* result =
          Find(absl::StrCat("BM_Remote/", std::string(name), "/", std::string(request)));
      const bool shown = result != nullptr && result->error.empty();
      measured |= shown;
      for (const char* quantile : {"p50_us", "p99_us"}) {
        row.push_back(shown ? FormatNanos(result->counters.at(quantile) * kNanosPerMicro) : "");
      }
    }
    if (measured) table.AddRow(std::move(row));
    any |= measured;
  }
  if (!any) return "";
  return absl::StrCat(
      "\n", table.Format(),
      "  p50 and p99 of TieredCache's calls, but for RedisTier::Get, which is a GET by itself. Not "
      "there: loaded and put into\n  Redis. Stores answer at once, but for the database's 50 to "
      "200 ms, which 128 threads ask at a time.\n");
}

std::string RemoteTable::FormatGets(std::string_view way, std::string_view heading,
                                    std::string_view beside) const {
  TextTable table;
  table.AddRow({std::string(heading), "larder GET/s", "redis-benchmark", "ratio", "from", "to",
                "larder's processors", "server's", "beside redis-benchmark"});
  bool any = false;
  for (const GetsPlan& plan : GetsPlans()) {
    const Result* result = plan.way == way ? Find(plan.Benchmark()) : nullptr;
    if (result == nullptr || !result->error.empty()) continue;
    any = true;
    const auto get = [&](const char* counter) { return result->counters.at(counter); };
    const auto share = [&](const char* counter) { return FormatShare(get(counter), 1); };
    table.AddRow({absl::StrCat(plan.Size()), FormatCount(get("gets_per_s")),
                  FormatCount(get("limit_per_s")), share("ratio"), share("ratio_min"),
                  share("ratio_max"), share("client_busy"), share("server_busy"),
                  share("limit_server_busy")});
  }
  if (!any) return "";
  return absl::StrFormat(
      "\n%s  Beside redis-benchmark -t get %s, in turns; medians of %d rounds. Processors: how "
      "much "
      "of one each process took.\n",
      table.Format(), std::string(beside), kGetsRounds);
}

std::string RemoteTable::FormatInvalidations() const {
  TextTable table;
  table.AddRow({"OLD COPY GONE AFTER ANOTHER PROCESS' WRITE", "began: p50", "p99", "max",
                "returned: p50", "p99", "max", "gone by then"});
  bool any = false;
  for (const InvalidationPlan& plan : InvalidationPlans()) {
    const Result* result = Find(plan.Benchmark());
    if (result == nullptr || !result->error.empty()) continue;
    any = true;
    std::vector<std::string> row = {TitleOf(plan)};
    for (const char* since : {"begun_", "returned_"}) {
      for (const char* quantile : {"p50_us", "p99_us", "max_us"}) {
        const double micros = result->counters.at(absl::StrCat(since, quantile));
        row.push_back(FormatNanos(micros * kNanosPerMicro));
      }
    }
    row.push_back(FormatShare(result->counters.at("gone_first"), 1));
    table.AddRow(std::move(row));
  }
  if (!any) return "";
  return absl::StrCat("\n", table.Format(),
                      "  Copies of its own: it has put them into Redis just before, and asks "
                      "whether the change is its own, too.\n");
}

std::string RemoteTable::FormatOutage(const RedisOutagePlan& plan) const {
  const Result* result = Find(RedisOutageBenchmark(plan));
  if (result == nullptr || !result->error.empty()) return "";
  TextTable table;
  table.AddRow({std::string(plan.title), "requests", "errors", "p50", "p99", "max", "memory", "p50",
                "p99", "joined", "Redis", "database"});
  for (const std::string_view phase : kRedisPhases) {
    const auto get = [&](std::string_view name) {
      return result->counters.at(absl::StrCat(std::string(phase), "_", std::string(name)));
    };
    const double requests = get("samples");
    const auto millis = [&](std::string_view name) {
      return FormatNanos(get(name) * kNanosPerMilli);
    };
    const auto micros = [&](std::string_view name) {
      return FormatNanos(get(name) * kNanosPerMicro);
    };
    table.AddRow(
        {std::string(phase), FormatCount(requests), FormatCount(get("errors")), millis("p50_ms"),
         millis("p99_ms"), millis("max_ms"), FormatShare(get("from_memory"), requests),
         micros("memory_p50_us"), micros("memory_p99_us"), FormatShare(get("joined"), requests),
         FormatShare(get("from_redis"), requests), FormatShare(get("from_database"), requests)});
  }
  std::string text = absl::StrFormat(
      "\n%s  %.0f requests a second, sent when they are due. Latencies are from then; they include "
      "what handing a request to a\n  thread took, p99 %s; memory's don't. Used again %s after it "
      "was back. Calls of Redis that failed: %s.\n",
      table.Format(), plan.requests_per_second,
      FormatNanos(result->counters.at("late_p99_ms") * kNanosPerMilli),
      FormatNanos(result->counters.at("until_up_ms") * kNanosPerMilli),
      FormatCount(result->counters.at("failed_calls")));
  for (const RedisOutageSeries& series : *outages_) {
    if (series.plan.name == plan.name) text += FormatEvents(series);
  }
  return text;
}

std::string RemoteTable::FormatFailures() const {
  std::string text;
  for (const auto& [name, result] : results()) {
    if (!result.error.empty()) absl::StrAppend(&text, "\n", name, ": ", result.error, "\n");
  }
  return text;
}

std::string FormatEvents(const RedisOutageSeries& series) {
  TextTable table;
  table.AddRow({"at", "Redis is", "requests", "errors", "p50", "p99", "max", "memory", "joined",
                "Redis", "database"});
  for (size_t i = 0; i < series.buckets.size(); ++i) {
    const absl::Duration at = static_cast<int64_t>(i) * kOutageBucket;
    const auto near = [&](absl::Duration event) {
      return at + kOutageBucket > event - kBeforeEvent && at < event + kAfterEvent;
    };
    if (!near(series.away_at) && !near(series.back_at) && !near(series.up_at)) continue;
    const OutageBucket& bucket = series.buckets[i];
    const auto share = [&](Source source) {
      return FormatShare(static_cast<double>(bucket.by_source[static_cast<size_t>(source)]),
                         static_cast<double>(bucket.requests));
    };
    table.AddRow({absl::StrFormat("%.1f s", absl::ToDoubleSeconds(at)),
                  std::string(RemoteHealthName(HealthAt(series.health, at))),
                  absl::StrCat(bucket.requests), absl::StrCat(bucket.errors),
                  FormatTime(bucket.p50), FormatTime(bucket.p99), FormatTime(bucket.max),
                  share(Source::kMemory), share(Source::kJoined), share(Source::kRedis),
                  share(Source::kDatabase)});
  }
  return absl::StrCat("\n", table.Format());
}

}  // namespace larder::bench
