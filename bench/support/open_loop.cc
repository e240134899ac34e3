// SPDX-License-Identifier: Apache-2.0

#include "bench/support/open_loop.h"

#include <sys/prctl.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "bench/support/outage_results.h"
#include "bench/support/progress.h"
#include "bench/support/slow_database.h"
#include "larder/thread_pool.h"

namespace larder::bench {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

// Asks one service for one product. Returns whether the answer may be true.
bool AskOnce(Service& service, uint32_t product, SteadyTime start, SteadyTime due,
             RequestRecord& record) {
  const SteadyTime begun = std::chrono::steady_clock::now();
  const ServiceAnswer answer = service.Ask(product);
  const SteadyTime ended = std::chrono::steady_clock::now();
  record.due = absl::FromChrono(due - start);
  record.begun = absl::FromChrono(begun - start);
  record.latency = absl::FromChrono(ended - due);
  record.age = answer.age;
  record.source = answer.source;
  record.outcome = !answer.row.ok() ? Outcome::kError
                   : answer.stale   ? Outcome::kStale
                                    : Outcome::kFresh;
  return !answer.row.ok() || *answer.row == SlowDatabase::ExpectedRow(product);
}

// Makes a pool start all of its threads.
absl::Status StartThreads(ThreadPool& pool, int threads) {
  std::latch all_given(1);
  std::latch done(threads);
  for (int i = 0; i < threads; ++i) {
    const bool accepted = pool.Execute([&all_given, &done] {
      all_given.wait();
      done.count_down();
    });
    if (!accepted) done.count_down();
  }
  const int started = pool.threads();
  all_given.count_down();
  done.wait();
  if (started == threads) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("the system gave ", started, " of ", threads, " threads"));
}

}  // namespace

absl::StatusOr<OpenLoop> OpenLoop::Create(size_t services, int threads) {
  std::vector<std::unique_ptr<ThreadPool>> pools;
  for (size_t i = 0; i < services; ++i) {
    absl::StatusOr<std::unique_ptr<ThreadPool>> pool =
        ThreadPool::Create({.threads = threads,
                            .queue_capacity = std::numeric_limits<uint32_t>::max(),
                            .idle_time = absl::InfiniteDuration()});
    if (!pool.ok()) return pool.status();
    if (absl::Status status = StartThreads(**pool, threads); !status.ok()) return status;
    pools.push_back(*std::move(pool));
  }
  return OpenLoop(std::move(pools));
}

absl::StatusOr<std::vector<std::vector<RequestRecord>>> OpenLoop::Send(
    std::span<const std::unique_ptr<Service>> services, std::span<const uint32_t> products,
    SteadyTime start, absl::Duration interval, Stage& stage) && {
  // The kernel may otherwise wake this thread 50 µs late.
  prctl(PR_SET_TIMERSLACK, 1);
  std::vector<std::vector<RequestRecord>> records(services.size());
  for (auto& of_service : records) of_service.resize(products.size());
  std::atomic<uint64_t> wrong{0};
  const absl::Duration turn = interval / static_cast<int64_t>(services.size());
  for (size_t n = 0; n < products.size(); ++n) {
    for (size_t i = 0; i < services.size(); ++i) {
      const SteadyTime due = start + absl::ToChronoNanoseconds(static_cast<int64_t>(n) * interval +
                                                               static_cast<int64_t>(i) * turn);
      std::this_thread::sleep_until(due);
      const bool accepted =
          pools_[i]->Execute([&service = *services[i], product = products[n], start, due,
                              &record = records[i][n], &wrong, &stage] {
            if (!AskOnce(service, product, start, due, record)) ++wrong;
            stage.Advance();
          });
      if (!accepted) ++wrong;
    }
  }
  pools_.clear();  // waits for what is under way
  if (wrong > 0) {
    return absl::InternalError(absl::StrCat(wrong.load(), " requests were answered wrongly"));
  }
  return records;
}

}  // namespace larder::bench
