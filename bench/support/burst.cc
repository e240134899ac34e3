// SPDX-License-Identifier: Apache-2.0

#include "bench/support/burst.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/progress.h"
#include "bench/support/put_loop.h"
#include "bench/support/put_target.h"
#include "bench/support/slow_store.h"

namespace larder::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct PutRecord {
  absl::Duration begun;
  absl::Duration took;
};

struct ThreadRecords {
  std::vector<PutRecord> puts;
  absl::Status status;
};

// One run, whose threads share what is here.
class Burst {
 public:
  Burst(PutTarget& target, SlowStore& store, const BurstLoad& load, Stage& stage)
      : target_(target), store_(store), load_(load), stage_(stage) {}

  // Every n-th put, from its `thread`-th on.
  ThreadRecords PutShare(int thread) {
    ThreadRecords records;
    for (uint32_t i = static_cast<uint32_t>(thread); i < load_.puts && records.status.ok();
         i += static_cast<uint32_t>(load_.threads)) {
      SleepUntil(absl::Seconds(i / load_.puts_per_second));
      const std::string key = PutKey(i % load_.keys);
      const std::string value = PutValue(i, load_.value_bytes);
      const absl::Duration begun = Elapsed();
      records.status = target_.Put(key, value);
      records.puts.push_back({begun, Elapsed() - begun});
      stage_.Advance();
    }
    return records;
  }

  void LetDatabaseDie() {
    if (load_.dies == load_.comes_back) return;
    SleepUntil(load_.dies);
    store_.Die();
    SleepUntil(load_.comes_back);
    store_.ComeBack();
  }

  // Until Stop().
  std::vector<BurstSample> Sample(absl::Duration interval) {
    std::vector<BurstSample> samples;
    while (!stopped_.load(std::memory_order_acquire)) {
      SleepUntil(interval * static_cast<int64_t>(samples.size()));
      const PutTargetStats stats = target_.Stats();
      samples.push_back({Elapsed(), stats.queued, stats.oldest, stats.stored});
    }
    return samples;
  }
  void Stop() { stopped_.store(true, std::memory_order_release); }

  absl::Duration Elapsed() const { return absl::FromChrono(Clock::now() - start_); }

 private:
  void SleepUntil(absl::Duration at) const {
    std::this_thread::sleep_until(start_ + absl::ToChronoNanoseconds(at));
  }

  PutTarget& target_;
  SlowStore& store_;
  const BurstLoad& load_;
  Stage& stage_;
  const Clock::time_point start_ = Clock::now();
  std::atomic<bool> stopped_{false};
};

// What happened between samples.
std::vector<BurstPuts> PutsBetween(std::span<const BurstSample> samples,
                                   std::span<const PutRecord> puts) {
  std::vector<std::vector<float>> took(samples.size());
  for (const PutRecord& put : puts) {
    const auto next =
        std::upper_bound(samples.begin(), samples.end(), put.begun,
                         [](absl::Duration at, const BurstSample& s) { return at < s.at; });
    const auto i = static_cast<size_t>(next - samples.begin());
    took[i == 0 ? 0 : i - 1].push_back(static_cast<float>(absl::ToDoubleNanoseconds(put.took)));
  }
  std::vector<BurstPuts> between;
  for (std::vector<float>& nanos : took) {
    std::sort(nanos.begin(), nanos.end());
    between.push_back({static_cast<uint32_t>(nanos.size()),
                       absl::Nanoseconds(Percentile(nanos, 0.5)),
                       absl::Nanoseconds(Percentile(nanos, 0.99))});
  }
  return between;
}

template <class Elements, class Figure>
std::string JsonArray(const Elements& elements, const Figure& figure) {
  return absl::StrCat("[",
                      absl::StrJoin(elements, ",",
                                    [&](std::string* out, const auto& element) {
                                      absl::StrAppend(out, figure(element));
                                    }),
                      "]");
}

std::string JsonSeconds(absl::Duration time) {
  return absl::StrFormat("%.4f", absl::ToDoubleSeconds(time));
}

std::string JsonMicros(const BurstPuts& puts, absl::Duration time) {
  return puts.puts == 0 ? "null" : absl::StrFormat("%.1f", absl::ToDoubleMicroseconds(time));
}

std::string JsonOf(const BurstSeries& burst) {
  using Sample = BurstSample;
  using Puts = BurstPuts;
  const BurstResults& results = burst.results;
  const std::vector<Sample>& samples = results.samples;
  return absl::StrCat(
      R"({"name": ")", burst.name, R"(", "title": ")", burst.title,
      absl::StrFormat("\",\n   \"puts_per_s\": %.4f, \"max_queued\": %d, \"dies_s\": %s, ",
                      burst.load.puts_per_second, burst.max_queued, JsonSeconds(burst.load.dies)),
      absl::StrFormat("\"comes_back_s\": %s, \"last_put_s\": %s, \"drained_s\": %s",
                      JsonSeconds(burst.load.comes_back), JsonSeconds(results.last_put),
                      JsonSeconds(results.drained)),
      ",\n   \"at_s\": ", JsonArray(samples, [](const Sample& s) { return JsonSeconds(s.at); }),
      ",\n   \"queued\": ",
      JsonArray(samples, [](const Sample& s) { return absl::StrCat(s.queued); }),
      ",\n   \"oldest_s\": ",
      JsonArray(samples, [](const Sample& s) { return JsonSeconds(s.oldest); }),
      ",\n   \"stored\": ",
      JsonArray(samples, [](const Sample& s) { return absl::StrCat(s.stored); }),
      ",\n   \"puts\": ",
      JsonArray(results.puts, [](const Puts& p) { return absl::StrCat(p.puts); }),
      ",\n   \"p50_us\": ",
      JsonArray(results.puts, [](const Puts& p) { return JsonMicros(p, p.p50); }),
      ",\n   \"p99_us\": ",
      JsonArray(results.puts, [](const Puts& p) { return JsonMicros(p, p.p99); }), "}");
}

}  // namespace

absl::StatusOr<BurstResults> RunBurst(PutTarget& target, SlowStore& store, const BurstLoad& load,
                                      absl::Duration interval, Stage& stage) {
  std::vector<ThreadRecords> records(static_cast<size_t>(load.threads));
  BurstResults results;
  Burst burst(target, store, load, stage);
  std::thread sampler([&] { results.samples = burst.Sample(interval); });
  std::thread database([&] { burst.LetDatabaseDie(); });
  std::vector<std::thread> threads;
  for (int i = 0; i < load.threads; ++i) {
    threads.emplace_back([&, i] { records[static_cast<size_t>(i)] = burst.PutShare(i); });
  }
  for (std::thread& thread : threads) thread.join();
  database.join();
  const absl::Status flushed = target.Flush();
  results.drained = burst.Elapsed();
  results.stats = target.Stats();
  burst.Stop();
  sampler.join();
  if (!flushed.ok()) return flushed;

  std::vector<PutRecord> puts;
  for (const ThreadRecords& thread : records) {
    if (!thread.status.ok()) return thread.status;
    puts.insert(puts.end(), thread.puts.begin(), thread.puts.end());
  }
  for (const PutRecord& put : puts) {
    results.latencies.Record(absl::ToDoubleNanoseconds(put.took));
    results.last_put = std::max(results.last_put, put.begun + put.took);
  }
  results.puts = PutsBetween(results.samples, puts);
  return results;
}

absl::Status WriteBurstJson(const std::string& path, absl::Duration interval,
                            std::span<const BurstSeries> bursts) {
  std::vector<std::string> series;
  for (const BurstSeries& burst : bursts) series.push_back(JsonOf(burst));
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << absl::StrFormat("{\"interval_s\": %s,\n \"bursts\": [\n  %s]}\n", JsonSeconds(interval),
                          absl::StrJoin(series, ",\n  "))
       << std::flush;
  if (!file) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  return absl::OkStatus();
}

}  // namespace larder::bench
