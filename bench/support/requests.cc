// SPDX-License-Identifier: Apache-2.0

#include "bench/support/requests.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "bench/support/cycle_timer.h"
#include "bench/support/slow_database.h"
#include "larder/internal/mutex.h"

namespace larder::bench {
namespace {

// What the requesters share.
class Run {
 public:
  Run(std::span<const uint32_t> products, const Answerer& answer, Stage& stage)
      : products_(products), answer_(answer), stage_(stage) {}

  // One requester: asks until nothing is left to ask.
  void Ask() {
    RequestResults mine;
    const CycleTimer& timer = CycleTimer::Get();
    for (size_t i = Next(); i < products_.size(); i = Next()) {
      Source source = Source::kDatabase;
      const uint64_t start = timer.Start();
      const absl::StatusOr<std::string> row = answer_(products_[i], &source);
      const double nanos = timer.ToNanos(timer.Stop() - start);
      if (const absl::Status status = Check(products_[i], row); !status.ok()) {
        Fail(status);
        return;
      }
      mine.all.Record(nanos);
      if (source == Source::kMemory || source == Source::kRedis) mine.cached.Record(nanos);
      ++mine.by_source[static_cast<size_t>(source)];
      stage_.Advance();
    }
    Add(mine);
  }

  absl::StatusOr<RequestResults> Finish(double seconds) {
    const internal::MutexLock lock(&mutex_);
    if (!status_.ok()) return status_;
    results_.seconds = seconds;
    return std::move(results_);
  }

 private:
  size_t Next() {
    if (failed_.load(std::memory_order_relaxed)) return products_.size();
    return next_.fetch_add(1, std::memory_order_relaxed);
  }

  static absl::Status Check(uint32_t product, const absl::StatusOr<std::string>& row) {
    if (!row.ok()) return row.status();
    if (*row != SlowDatabase::ExpectedRow(product)) {
      return absl::InternalError(absl::StrCat("wrong answer for product ", product, ": ", *row));
    }
    return absl::OkStatus();
  }

  void Fail(const absl::Status& status) {
    failed_.store(true, std::memory_order_relaxed);
    const internal::MutexLock lock(&mutex_);
    status_.Update(status);
  }

  void Add(const RequestResults& mine) {
    const internal::MutexLock lock(&mutex_);
    results_.all.Merge(mine.all);
    results_.cached.Merge(mine.cached);
    for (size_t i = 0; i < kSources; ++i) results_.by_source[i] += mine.by_source[i];
  }

  const std::span<const uint32_t> products_;
  const Answerer& answer_;
  Stage& stage_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> failed_{false};
  internal::Mutex mutex_;
  RequestResults results_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<RequestResults> SendRequests(std::span<const uint32_t> products, int requesters,
                                            const Answerer& answer, Stage& stage) {
  Run run(products, answer, stage);
  std::latch ready(requesters + 1);
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(requesters));
  for (int i = 0; i < requesters; ++i) {
    threads.emplace_back([&] {
      ready.arrive_and_wait();
      run.Ask();
    });
  }
  ready.arrive_and_wait();
  const auto start = std::chrono::steady_clock::now();
  for (std::thread& thread : threads) thread.join();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return run.Finish(elapsed.count());
}

}  // namespace larder::bench
