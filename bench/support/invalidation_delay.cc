// SPDX-License-Identifier: Apache-2.0

#include "bench/support/invalidation_delay.h"

#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "bench/support/child_process.h"
#include "bench/support/latency_counters.h"
#include "bench/support/product_stores.h"
#include "bench/support/progress.h"
#include "bench/support/requests.h"
#include "bench/support/server_cache.h"
#include "bench/support/stage_results.h"
#include "bench/support/tier_parts.h"
#include "benchmark/benchmark.h"
#include "larder/redis_tier.h"
#include "tests/support/redis_server.h"

namespace larder::bench {
namespace {

using std::chrono::steady_clock;

constexpr uint32_t kWrites = 4'000;
constexpr absl::Duration kInterval = absl::Microseconds(500);
constexpr int kReaders = 8;
// What the two processes say to each other, a line each.
constexpr std::string_view kReady = "ready";
constexpr std::string_view kGo = "go";

int64_t NowNanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             steady_clock::now().time_since_epoch())
      .count();
}

absl::StatusOr<std::vector<WriteTimes>> WriteAll(const WriterTask& task, ServerCache& cache) {
  std::vector<WriteTimes> times(task.writes);
  const steady_clock::time_point start = steady_clock::now();
  for (uint32_t i = 0; i < task.writes; ++i) {
    const std::string key = ProductKey(i);
    const std::string value = absl::StrCat("the row that the writer gave ", key);
    std::this_thread::sleep_until(start + absl::ToChronoNanoseconds(i * task.interval));
    times[i].begun = NowNanos();
    const absl::Status put = cache.Put(key, value);
    times[i].returned = NowNanos();
    if (!put.ok()) return put;
  }
  return times;
}

absl::Status Write(std::string_view text) {
  const absl::StatusOr<WriterTask> task = WriterTask::Parse(text);
  if (!task.ok()) return task.status();
  InstantStore store;
  RedisOptions redis;
  redis.host = "127.0.0.1";
  redis.port = task->port;
  redis.key_prefix = task->key_prefix;
  ServerCacheOptions options;
  options.redis = redis;
  options.remote.timeout = kPatience;
  options.store = &store;
  const absl::StatusOr<std::unique_ptr<ServerCache>> cache = ServerCache::Create(options);
  if (!cache.ok()) return cache.status();
  std::cout << kReady << std::endl;
  std::string line;
  if (!std::getline(std::cin, line) || line != kGo) return absl::AbortedError("not asked to go");
  const absl::StatusOr<std::vector<WriteTimes>> times = WriteAll(*task, **cache);
  if (!times.ok()) return times.status();
  for (const WriteTimes& write : *times) {
    std::cout << write.begun << ' ' << write.returned << '\n';
  }
  std::cout << std::flush;
  return absl::OkStatus();
}

// When each product left this process's memory for the first time; 0: not yet.
class Departures {
 public:
  explicit Departures(size_t products) : times_(products) {}

  void Note(const std::string& key) {
    const std::optional<uint32_t> product = ProductOf(key);
    int64_t never = 0;
    if (product.has_value() && *product < times_.size()) {
      times_[*product].compare_exchange_strong(never, NowNanos());
    }
  }

  // DeadlineExceeded where not all have left after kPatience.
  absl::Status WaitForAll() const {
    const absl::Time limit = absl::Now() + kPatience;
    for (size_t i = 0; i < times_.size(); ++i) {
      while (times_[i].load() == 0) {
        if (absl::Now() > limit) {
          return absl::DeadlineExceededError(
              absl::StrCat("the old value of product ", i, " is still in memory"));
        }
        absl::SleepFor(absl::Milliseconds(1));
      }
    }
    return absl::OkStatus();
  }

  std::vector<int64_t> times() const { return {times_.begin(), times_.end()}; }

 private:
  std::vector<std::atomic<int64_t>> times_;
};

absl::StatusOr<std::vector<WriteTimes>> HaveWritten(const WriterTask& task) {
  absl::StatusOr<std::unique_ptr<ChildProcess>> writer = ChildProcess::Start(
      {"/proc/self/exe", absl::StrCat("--", std::string(kWriterFlag), "=", task.Format())});
  if (!writer.ok()) return writer.status();
  const absl::StatusOr<std::string> ready = (*writer)->ReadLine();
  if (!ready.ok()) return ready.status();
  if (absl::Status told = (*writer)->WriteLine(std::string(kGo)); !told.ok()) return told;
  std::vector<WriteTimes> times;
  for (uint32_t i = 0; i < task.writes; ++i) {
    const absl::StatusOr<std::string> line = (*writer)->ReadLine();
    if (!line.ok()) return line.status();
    const std::vector<std::string> words = absl::StrSplit(*line, ' ');
    WriteTimes& write = times.emplace_back();
    if (words.size() != 2 || !absl::SimpleAtoi(words[0], &write.begun) ||
        !absl::SimpleAtoi(words[1], &write.returned)) {
      return absl::InternalError(absl::StrCat("the writer said: ", *line));
    }
  }
  if (absl::Status ended = (*writer)->Wait(); !ended.ok()) return ended;
  return times;
}

absl::Status LoadAll(ServerCache& cache, Stage& stage) {
  std::vector<uint32_t> products(kWrites);
  std::iota(products.begin(), products.end(), 0u);
  const Answerer load = [&cache](uint32_t product, Source* source) {
    return cache.Get(ProductKey(product), source);
  };
  return SendRequests(products, kReaders, load, stage).status();
}

// Has a server that is gone afterwards put all products into Redis.
absl::Status HaveFilled(const ServerCacheOptions& options, Stage& stage) {
  const absl::StatusOr<std::unique_ptr<ServerCache>> cache = ServerCache::Create(options);
  return cache.ok() ? LoadAll(**cache, stage) : cache.status();
}

absl::StatusOr<InvalidationDelays> Measure(TierParts& parts, const InvalidationPlan& plan, int run,
                                           Stage& stage) {
  const absl::StatusOr<test::RedisServer*> server = parts.Server();
  if (!server.ok()) return server.status();
  absl::StatusOr<RedisOptions> redis = parts.RedisAt(plan.place);
  if (!redis.ok()) return redis.status();
  redis->key_prefix = absl::StrCat(plan.Benchmark(), "/", run, "/");
  const WriterTask task = {.port = (*server)->port(),
                           .key_prefix = redis->key_prefix,
                           .writes = kWrites,
                           .interval = kInterval};
  InstantStore store;
  ServerCacheOptions options;
  options.redis = *std::move(redis);
  options.remote.timeout = kPatience;
  options.store = &store;
  if (!plan.own_copies) {
    if (absl::Status filled = HaveFilled(options, stage); !filled.ok()) return filled;
  }
  Departures departures(kWrites);
  options.on_removal = [&departures](const std::string& key) { departures.Note(key); };
  const absl::StatusOr<std::unique_ptr<ServerCache>> cache = ServerCache::Create(options);
  if (!cache.ok()) return cache.status();
  if (absl::Status loaded = LoadAll(**cache, stage); !loaded.ok()) return loaded;
  const absl::StatusOr<std::vector<WriteTimes>> writes = HaveWritten(task);
  if (!writes.ok()) return writes.status();
  if (absl::Status gone = departures.WaitForAll(); !gone.ok()) return gone;
  return DelaysOf(*writes, departures.times());
}

void Run(benchmark::State& state, TierParts& parts, const InvalidationPlan& plan) {
  static int runs = 0;
  while (state.KeepRunning()) {
    Stage stage(plan.Benchmark().substr(3),
                absl::StrFormat("%d writes by another process", kWrites), kWrites);
    const absl::StatusOr<InvalidationDelays> delays = Measure(parts, plan, ++runs, stage);
    if (!delays.ok()) return GiveUp(state, parts, stage, delays.status());
    AddLatencyCounters(state, "begun_", delays->since_begun, "us", kNanosPerMicro);
    AddLatencyCounters(state, "returned_", delays->since_returned, "us", kNanosPerMicro);
    state.counters["gone_first"] =
        static_cast<double>(delays->gone_first) / static_cast<double>(delays->since_begun.size());
  }
}

}  // namespace

std::string WriterTask::Format() const {
  return absl::StrCat(port, ",", writes, ",", absl::ToInt64Microseconds(interval), ",", key_prefix);
}

absl::StatusOr<WriterTask> WriterTask::Parse(std::string_view text) {
  const std::vector<std::string> words = absl::StrSplit(std::string(text), absl::MaxSplits(',', 3));
  WriterTask task;
  int64_t micros = 0;
  if (words.size() != 4 || !absl::SimpleAtoi(words[0], &task.port) ||
      !absl::SimpleAtoi(words[1], &task.writes) || !absl::SimpleAtoi(words[2], &micros)) {
    return absl::InvalidArgumentError(absl::StrCat("not a writer's task: ", std::string(text)));
  }
  task.interval = absl::Microseconds(micros);
  task.key_prefix = words[3];
  return task;
}

int RunWriter(std::string_view task) {
  // Without the process that measures there is nobody to write for.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_TIMERSLACK, 1);
  const absl::Status status = Write(task);
  if (status.ok()) return 0;
  absl::FPrintF(stderr, "larder: the writer failed: %s\n", status.ToString());
  return 1;
}

absl::StatusOr<InvalidationDelays> DelaysOf(std::span<const WriteTimes> writes,
                                            std::span<const int64_t> gone) {
  InvalidationDelays delays;
  for (size_t i = 0; i < writes.size(); ++i) {
    if (gone[i] < writes[i].begun) {
      return absl::InternalError(absl::StrCat("value ", i, " was gone before it was written"));
    }
    const int64_t after = gone[i] - writes[i].returned;
    delays.since_begun.Record(static_cast<double>(gone[i] - writes[i].begun));
    delays.since_returned.Record(static_cast<double>(std::max<int64_t>(0, after)));
    if (after <= 0) ++delays.gone_first;
  }
  return delays;
}

std::string InvalidationPlan::Benchmark() const {
  return absl::StrCat("BM_Invalidation/", place == RedisPlace::kDistant ? "distant" : "loopback",
                      own_copies ? "_own" : "");
}

std::vector<InvalidationPlan> InvalidationPlans() {
  return {{.place = RedisPlace::kLoopback},
          {.place = RedisPlace::kLoopback, .own_copies = true},
          {.place = RedisPlace::kDistant},
          {.place = RedisPlace::kDistant, .own_copies = true}};
}

void RegisterInvalidationBenchmarks(TierParts& parts) {
  for (const InvalidationPlan& plan : InvalidationPlans()) {
    benchmark::RegisterBenchmark(plan.Benchmark().c_str(), [&parts, plan](benchmark::State& state) {
      Run(state, parts, plan);
    })->Iterations(1);
  }
}

}  // namespace larder::bench
