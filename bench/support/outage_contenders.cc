// SPDX-License-Identifier: Apache-2.0

#include "bench/support/outage_contenders.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "bench/support/failing_database.h"
#include "bench/support/open_loop.h"
#include "bench/support/outage_results.h"
#include "bench/support/outage_timeline.h"
#include "bench/support/progress.h"
#include "bench/support/slow_database.h"
#include "bench/support/zipf.h"
#include "larder/cache.h"
#include "larder/load_result.h"
#include "larder/options.h"
#include "larder/refresh_after.h"
#include "larder/thread_pool.h"

namespace larder::bench {
namespace {

using Memory = Cache<std::string, std::string>;

class NoCache : public Service {
 public:
  explicit NoCache(FailingDatabase& database) : database_(database) {}

  ServiceAnswer Ask(uint32_t product) override { return {.row = database_.Query(product)}; }

 private:
  FailingDatabase& database_;
};

class CacheAside : public Service {
 public:
  CacheAside(FailingDatabase& database, std::unique_ptr<Memory> memory)
      : database_(database), memory_(std::move(memory)) {}

  ServiceAnswer Ask(uint32_t product) override {
    // A load may outlast the call, but not the database.
    const auto load = [database = &database_, product](const std::string&) {
      return database->Query(product);
    };
    absl::StatusOr<LoadResult<std::string>> result =
        memory_->GetOrLoadResult(absl::StrCat("product:", product), load);
    if (!result.ok()) return {.row = result.status()};
    return {.row = std::move(result->value),
            .stale = result->source == LoadSource::kStale,
            .age = result->age};
  }

 private:
  FailingDatabase& database_;
  const std::unique_ptr<Memory> memory_;
};

// What a contender is made of. Members are destroyed from the last to the first: services wait for
// their loads, which are on the executor and ask the database.
struct Parts {
  std::vector<std::unique_ptr<SlowDatabase>> rows;
  std::vector<std::unique_ptr<FailingDatabase>> databases;
  std::vector<std::unique_ptr<ThreadPool>> executors;
  std::vector<std::unique_ptr<Service>> services;
};

absl::Status AddService(const OutageContender& contender, uint32_t products, int threads,
                        Parts& parts) {
  FailingDatabase& database = *parts.databases.back();
  if (!contender.options.has_value()) {
    parts.services.push_back(std::make_unique<NoCache>(database));
    return absl::OkStatus();
  }
  absl::StatusOr<std::unique_ptr<ThreadPool>> executor =
      ThreadPool::Create({.threads = threads, .idle_time = absl::InfiniteDuration()});
  if (!executor.ok()) return executor.status();
  parts.executors.push_back(*std::move(executor));
  Memory::Options options;
  static_cast<CacheOptions&>(options) = *contender.options;
  options.capacity = 2 * uint64_t{products};  // its parts fill unevenly: room for all takes more
  options.executor = parts.executors.back().get();
  absl::StatusOr<std::unique_ptr<Memory>> memory = Memory::Create(std::move(options));
  if (!memory.ok()) return memory.status();
  parts.services.push_back(std::make_unique<CacheAside>(database, *std::move(memory)));
  return absl::OkStatus();
}

absl::Duration Interval(const OutageLoad& load) {
  return absl::Seconds(1) / load.requests_per_second;
}

// "+ soft_timeout 100ms"
std::string Titled(const std::string& option, absl::Duration time) {
  return absl::StrCat(option, " ", absl::FormatDuration(time));
}

// The products in the order in which they are asked for: first each once, so that all caches have
// seen all, as that of a service has that runs for long, then some more often than others.
std::vector<uint32_t> ProductsToAsk(const OutageLoad& load, size_t requests) {
  std::vector<uint32_t> products(load.products);
  std::iota(products.begin(), products.end(), 0u);
  std::shuffle(products.begin(), products.end(), std::mt19937_64(load.seed));
  const std::vector<uint32_t> popular =
      ZipfKeys(load.products, load.zipf_exponent, requests, load.seed);
  products.insert(products.end(), popular.begin(), popular.end());
  products.resize(requests);
  return products;
}

}  // namespace

std::vector<OutageContender> OutageContenders(double scale) {
  CacheOptions plain;
  plain.ttl = scale * kOutageTtl;
  // Only where there are windows for stale answers does it matter.
  plain.retry_after = scale * absl::Seconds(1);
  std::vector<OutageContender> contenders = {{"none", "no cache", std::nullopt},
                                             {"plain", "plain cache-aside", plain}};
  CacheOptions all = plain;
  const auto add = [&](std::string name, std::string title, const auto& set) {
    CacheOptions options = plain;
    set(options);
    set(all);
    contenders.push_back({std::move(name), std::move(title), options});
  };
  const absl::Duration refresh = scale * absl::Seconds(1);
  add("refresh_after", Titled("+ refresh_after", refresh),
      [&](CacheOptions& options) { options.refresh_after = RefreshAfter(refresh); });
  const absl::Duration revalidate = scale * absl::Seconds(2);
  add("stale_while_revalidate", Titled("+ stale_while_revalidate", revalidate),
      [&](CacheOptions& options) { options.stale_while_revalidate = revalidate; });
  const absl::Duration stale = scale * absl::Minutes(1);
  add("stale_if_error", Titled("+ stale_if_error", stale),
      [&](CacheOptions& options) { options.stale_if_error = stale; });
  const absl::Duration soft = scale * absl::Milliseconds(100);
  add("soft_timeout", Titled("+ stale_if_error, soft_timeout", soft), [&](CacheOptions& options) {
    options.stale_if_error = stale;
    options.soft_timeout = soft;
  });
  const absl::Duration hard = scale * absl::Milliseconds(400);
  add("hard_timeout", Titled("+ hard_timeout", hard),
      [&](CacheOptions& options) { options.hard_timeout = hard; });
  add("circuit_breaker", "+ circuit_breaker, 5 in a row", [&](CacheOptions& options) {
    options.circuit_breaker = {.failures = 5, .open_for = scale * absl::Seconds(1)};
  });
  add("max_concurrent_loads", "+ max_concurrent_loads 64", [](CacheOptions& options) {
    options.max_concurrent_loads = 64;
    options.max_queued_loads = 64;
  });
  contenders.push_back({"all", "all of these together", all});
  return contenders;
}

absl::StatusOr<std::vector<OutageRecords>> RunOutage(const std::string& directory,
                                                     const OutageTimeline& timeline,
                                                     const OutageLoad& load,
                                                     std::span<const OutageContender> contenders,
                                                     Stage& stage) {
  const std::vector<uint32_t> products = ProductsToAsk(load, RequestCount(timeline, load));
  absl::StatusOr<OpenLoop> senders = OpenLoop::Create(contenders.size(), load.threads);
  if (!senders.ok()) return senders.status();
  Parts parts;
  for (const OutageContender& contender : contenders) {
    absl::StatusOr<std::unique_ptr<SlowDatabase>> rows = SlowDatabase::Create(
        absl::StrCat(directory, "/", contender.name, ".sqlite3"), load.products, load.seed);
    if (!rows.ok()) return rows.status();
    parts.rows.push_back(*std::move(rows));
  }
  const auto start = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
  for (size_t i = 0; i < contenders.size(); ++i) {
    parts.databases.push_back(
        std::make_unique<FailingDatabase>(*parts.rows[i], timeline, start, load.seed));
    const absl::Status status = AddService(contenders[i], load.products, load.threads, parts);
    if (!status.ok()) return status;
  }
  auto requests =
      (*std::move(senders)).Send(parts.services, products, start, Interval(load), stage);
  if (!requests.ok()) return requests.status();
  parts.services.clear();  // with them end the loads in the background
  std::vector<OutageRecords> records(contenders.size());
  for (size_t i = 0; i < contenders.size(); ++i) {
    records[i] = {std::move((*requests)[i]), parts.databases[i]->queries()};
  }
  return records;
}

uint64_t RequestCount(const OutageTimeline& timeline, const OutageLoad& load) {
  return static_cast<uint64_t>(timeline.length() / Interval(load));
}

}  // namespace larder::bench
