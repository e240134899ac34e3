// SPDX-License-Identifier: Apache-2.0
//
// CoherenceServer: one of the servers of a coherence check, a process with a TieredCache.

#ifndef LARDER_TESTS_SUPPORT_COHERENCE_SERVER_H_
#define LARDER_TESTS_SUPPORT_COHERENCE_SERVER_H_

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "larder/redis_tier.h"
#include "larder/tiered_cache.h"
#include "tests/support/coherence_shared.h"
#include "tests/support/coherence_store.h"
#include "tests/support/coherence_truth.h"

namespace larder::test {

// Runs in a process of its own, after fork().
class CoherenceServer {
 public:
  // Does as the parent says, until the end. Ends the process.
  [[noreturn]] static void Serve(CoherenceShared& shared, int server,
                                 const CoherenceSettings& settings,
                                 const CoherenceAddress& address) {
    {
      CoherenceServer self(shared, server, settings, address);
      self.Run();
    }
    _exit(0);
  }

 private:
  using Tiered = TieredCache<std::string, std::string>;
  using Random = std::mt19937_64;

  static constexpr int kKeys = CoherenceTruth::kKeys;

  CoherenceServer(CoherenceShared& shared, int server, const CoherenceSettings& settings,
                  const CoherenceAddress& address)
      : shared_(shared),
        truth_(shared.truth),
        state_(shared.servers[server]),
        server_(server),
        settings_(settings),
        store_(truth_, state_, server) {
    for (auto& least : state_.least) least = 0;
    Tiered::Options options;
    options.cache.capacity = kKeys * 3 / 4;
    options.cache.ttl = absl::Minutes(1);
    options.cache.negative_ttl = absl::Minutes(1);
    options.store = &store_;
    options.write_policy = settings.write_policy;
    options.write_behind.batch_delay = absl::Milliseconds(3);
    if (settings.has_tier) {
      tier_ = MakeTier(address);
      UseTier(options.remote);
    }
    absl::StatusOr<std::unique_ptr<Tiered>> cache = Tiered::Create(options);
    if (!cache.ok()) Die(cache.status().ToString());
    cache_ = *std::move(cache);
  }

  [[noreturn]] void Die(const std::string& why) {
    Problem(why);
    _exit(1);
  }

  std::unique_ptr<RedisTier> MakeTier(const CoherenceAddress& address) {
    RedisOptions options;
    options.unix_socket = address.unix_socket;
    if (address.port != 0) {
      options.host = "127.0.0.1";
      options.port = address.port;
    }
    options.key_prefix = "check:";
    options.heartbeat_interval = settings_.heartbeat_interval;
    options.heartbeat_timeout = settings_.heartbeat_timeout;
    auto tier = RedisTier::Create(options);
    if (!tier.ok()) Die(tier.status().ToString());
    return *std::move(tier);
  }

  void UseTier(RemoteOptions& options) {
    options.tier = tier_.get();
    options.negative_ttl = absl::Minutes(1);
    options.timeout = settings_.timeout;
    options.write_lease = settings_.write_lease;
    options.when_cut_off = settings_.when_cut_off;
    options.unverified_ttl = settings_.unverified_ttl;
    options.first_probe = settings_.last_probe / 4;
    options.last_probe = settings_.last_probe;
    options.settle_time = settings_.settle_time;
    options.wait_for_other_loads = absl::Milliseconds(settings_.seed % 2 == 0 ? 0 : 5);
  }

  void Run() {
    std::vector<std::thread> threads;
    for (int i = 0; i < CoherenceServerState::kThreads; ++i) {
      threads.emplace_back([this, i] { Work(i); });
    }
    constexpr int64_t kStall = 100'000'000;
    for (int64_t last = MonotonicNow(); Phase() != CoherencePhase::kEnd; ++state_.beats) {
      Publish();
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      const int64_t now = MonotonicNow();
      if (now - last > kStall) shared_.stalled += now - last;
      last = now;
    }
    for (std::thread& thread : threads) thread.join();
    const TieredStats stats = cache_->Stats();
    state_.from_memory += stats.memory.hits;
    state_.from_tier += stats.remote.hits + stats.remote.negative_hits;
    if (const absl::Status status = cache_->Close(absl::Seconds(5)); !status.ok()) {
      Problem(status.ToString());
    }
  }

  void Publish() {
    const RemoteStats stats = cache_->Stats().remote;
    state_.missed_waiting = stats.missed_waiting;
    state_.health = static_cast<int>(stats.health);
    const bool is_down = stats.health != RemoteHealth::kUp || stats.missed_waiting != 0;
    if (settings_.has_tier && is_down) state_.down_at = MonotonicNow();
  }

  CoherencePhase Phase() const { return static_cast<CoherencePhase>(shared_.order.load() % 4); }

  void Work(int thread) {
    Random random(settings_.seed * 1000 + static_cast<uint64_t>(server_ * 10 + thread));
    while (true) {
      const uint64_t order = shared_.order.load();
      const auto phase = static_cast<CoherencePhase>(order % 4);
      if (state_.seen[thread].load() != order) {
        if (phase == CoherencePhase::kWait && settings_.write_policy == WritePolicy::kBehind) {
          const absl::Status flushed = cache_->Flush(absl::Seconds(5));
          if (!flushed.ok()) Problem(flushed.ToString());
        }
        if (phase == CoherencePhase::kVerify) Verify(thread);
        state_.seen[thread] = order;
      }
      if (phase == CoherencePhase::kEnd) return;
      if (phase == CoherencePhase::kRun) Step(random);
      const auto pause = static_cast<uint64_t>(absl::ToInt64Microseconds(settings_.pause));
      std::this_thread::sleep_for(
          std::chrono::microseconds(phase == CoherencePhase::kRun ? random() % pause : 1000));
    }
  }

  // --- Reads and writes at random

  // Some keys are written often, the others seldom, so that what is wrong with them stays.
  int KeyToWrite(Random& random) const {
    constexpr uint64_t kOwn = kKeys - CoherenceTruth::kForeignKeys;
    return static_cast<int>(random() % (random() % 10 == 0 ? kOwn : settings_.hot_keys));
  }

  void Step(Random& random) {
    const uint64_t draw = random() % 100;
    if (draw < settings_.share_of_writes) {
      draw % 5 == 0 ? Erase(KeyToWrite(random)) : Put(KeyToWrite(random));
    } else if (draw < settings_.share_of_writes + 2 && settings_.others_write) {
      constexpr auto kForeign = static_cast<uint64_t>(CoherenceTruth::kForeignKeys);
      WriteAsAnother(kKeys - 1 - static_cast<int>(random() % kForeign), random());
    } else if (draw % 10 == 0) {
      ReadMany(random);
    } else {
      Read(static_cast<int>(random() % kKeys));
    }
  }

  struct Begun {
    int64_t at;
    uint64_t least;
  };
  Begun Begin(int key) const {
    const uint64_t least = state_.least[key].load();
    return {.at = MonotonicNow(), .least = least};
  }

  void Read(int key) {
    const Begun begun = Begin(key);
    Check("Get", key, begun, cache_->Get(CoherenceTruth::KeyName(key)));
  }

  void ReadMany(Random& random) {
    std::vector<int> keys(2 + random() % 6);
    std::vector<std::string> names;
    std::vector<Begun> begun;
    for (int& key : keys) {
      key = static_cast<int>(random() % kKeys);
      names.push_back(CoherenceTruth::KeyName(key));
      begun.push_back(Begin(key));
    }
    const std::vector<absl::StatusOr<std::string>> values = cache_->GetAll(names);
    for (size_t i = 0; i < keys.size(); ++i) Check("GetAll", keys[i], begun[i], values[i]);
  }

  void Put(int key) {
    const uint64_t id = truth_.NewId(server_);
    PutOptions options;
    options.tags = {CoherenceStore::TagOf(key)};
    const absl::Status status =
        cache_->Put(CoherenceTruth::KeyName(key), CoherenceTruth::ValueOf(key, id), options);
    if (!status.ok()) Problem(absl::StrCat("Put failed: ", status.ToString()));
    Written(key, truth_.OrderOf(id));
  }

  void Erase(int key) {
    erased_at_[key] = MonotonicNow();
    const absl::Status status = cache_->Erase(CoherenceTruth::KeyName(key));
    if (!status.ok()) Problem(absl::StrCat("Erase failed: ", status.ToString()));
    ++state_.writes;
  }

  // Past the cache, which is then told. Where there was no value, a tag tells it nothing.
  void WriteAsAnother(int key, uint64_t draw) {
    const bool is_erasable = CoherenceTruth::IsErasable(key);
    const uint64_t id = truth_.NewId(server_);
    const uint64_t order = truth_.Write(key, id, is_erasable && id % 3 == 0);
    absl::Status status;
    if (draw % 4 == 0) {
      status = cache_->InvalidatePrefix("foreign");
    } else if (draw % 4 == 1 || is_erasable) {
      status = cache_->Invalidate(CoherenceTruth::KeyName(key));
    } else {
      status = cache_->InvalidateTag(CoherenceStore::TagOf(key));
    }
    // Then the others hear of it as soon as they can.
    if (!status.ok()) ++state_.late_invalidations;
    truth_.Overwritten(key, order);
    ++state_.invalidations;
    Written(key, order);
  }

  // Reads of this server see its writes at once, whatever becomes of the tier.
  void Written(int key, uint64_t order) {
    ++state_.writes;
    uint64_t least = state_.least[key].load();
    while (least < order && !state_.least[key].compare_exchange_weak(least, order)) {
    }
  }

  // --- Checks

  void Check(const char* call, int key, const Begun& begun,
             const absl::StatusOr<std::string>& value) {
    ++state_.reads;
    if (!value.ok() && !absl::IsNotFound(value.status())) {
      return Problem(absl::StrCat(call, " failed: ", value.status().ToString()));
    }
    CoherenceTruth::Reading reading{.server = server_, .key = key, .least = begun.least};
    if (value.ok()) {
      reading.id = CoherenceTruth::IdOf(key, *value);
      if (!reading.id.has_value()) return Wrong(call, key, begun, value, "nobody put that");
    }
    if (!value.ok() && MayWaitToBeErased(key, begun)) return;
    const std::optional<int64_t> overwritten_at = truth_.OverwrittenAt(reading);
    if (!overwritten_at.has_value()) {
      return Wrong(call, key, begun, value,
                   absl::StrCat("no such version, or one before ", begun.least,
                                ", which this server had written"));
    }
    if (*overwritten_at == 0 || *overwritten_at >= begun.at) return;
    const int64_t staleness = begun.at - *overwritten_at;
    const auto is_connected = [&] { return *overwritten_at >= ConnectedSince(); };
    const auto bound = [&] {
      return (is_connected() ? shared_.bound.load() : CutOffBound()) + shared_.stalled.load();
    };
    AtLeast(is_connected() ? state_.most_stale_connected : state_.most_stale, staleness);
    if (staleness > bound()) AwaitBeats();
    if (staleness > bound()) {
      Wrong(call, key, begun, value,
            absl::StrCat("overwritten ", static_cast<double>(staleness) / 1e6,
                         " ms before, more than ", static_cast<double>(bound()) / 1e6));
    }
  }

  // Erasures have no value that would tell whether one was found that the store has yet to see.
  bool MayWaitToBeErased(int key, const Begun& begun) const {
    constexpr int64_t kLongInQueue = 3'000'000'000;
    return settings_.write_policy == WritePolicy::kBehind && erased_at_[key].load() != 0 &&
           begun.at - erased_at_[key].load() < kLongInQueue;
  }

  int64_t CutOffBound() const {
    const int64_t alone_since = shared_.alone.load() == server_ ? 0 : shared_.alone_since.load();
    return shared_.cut_off_bound.load() + (alone_since == 0 ? 0 : MonotonicNow() - alone_since);
  }

  // All servers: what one wrote that was cut off by itself, the others don't know either.
  int64_t ConnectedSince() const {
    int64_t since = shared_.connected_since.load();
    for (const CoherenceServerState& server : shared_.servers) {
      since = std::max(since, server.down_at.load());
    }
    return since;
  }

  // Until every server that lives has said whether it stood still. Redis and the relays don't:
  // where they do for long, servers notice that they are cut off.
  void AwaitBeats() const {
    const int64_t limit = MonotonicNow() + 5'000'000'000;
    for (const CoherenceServerState& server : shared_.servers) {
      const uint64_t two_later = server.beats.load() + 2;
      while (server.beats.load() < two_later && MonotonicNow() < limit) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  }

  // While nobody writes. What isn't right soon is wrong.
  void Verify(int thread) {
    const int64_t limit =
        MonotonicNow() + absl::ToInt64Nanoseconds(settings_.lag) - shared_.stalled.load();
    const auto is_over = [&] { return MonotonicNow() >= limit + shared_.stalled.load(); };
    for (int i = 0; i < kKeys; ++i) {
      const int key = (i + thread * kKeys / CoherenceServerState::kThreads) % kKeys;
      const Begun begun = Begin(key);
      absl::StatusOr<std::string> value = ReadInQuiet(key);
      while (!IsNewest(key, value)) {
        if (is_over()) AwaitBeats();
        if (is_over()) break;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        value = ReadInQuiet(key);
      }
      if (IsNewest(key, value)) continue;
      Wrong("Get, long after the last write,", key, begun, value, "not the newest");
    }
  }

  absl::StatusOr<std::string> ReadInQuiet(int key) {
    ++state_.reads;
    return cache_->Get(CoherenceTruth::KeyName(key));
  }

  bool IsNewest(int key, const absl::StatusOr<std::string>& value) const {
    const CoherenceTruth::Version newest = truth_.Newest(key);
    return newest.is_erased ? absl::IsNotFound(value.status())
                            : value.ok() && *value == CoherenceTruth::ValueOf(key, newest.id);
  }

  static void AtLeast(std::atomic<int64_t>& most, int64_t value) {
    int64_t seen = most.load();
    while (seen < value && !most.compare_exchange_weak(seen, value)) {
    }
  }

  void Wrong(const char* call, int key, const Begun& begun,
             const absl::StatusOr<std::string>& value, const std::string& why) {
    const int64_t now = MonotonicNow();
    Problem(absl::StrCat(call, " of ", CoherenceTruth::KeyName(key), ", begun ",
                         static_cast<double>(now - begun.at) / 1e6, " ms ago, returned ",
                         value.ok() ? value->substr(0, 40) : value.status().ToString(), ": ", why,
                         "\nhealth ", std::string(RemoteHealthName(cache_->Stats().remote.health)),
                         ", history:\n", truth_.History(key, now)));
  }

  // Keeps the first one.
  void Problem(const std::string& what) {
    if (state_.problems++ != 0) return;
    const std::string text = absl::StrCat("server ", server_, ": ", what);
    text.copy(state_.problem, sizeof(state_.problem) - 1);
    state_.has_problem = true;
  }

  CoherenceShared& shared_;
  CoherenceTruth& truth_;
  CoherenceServerState& state_;
  const int server_;
  const CoherenceSettings settings_;
  CoherenceStore store_;
  std::atomic<int64_t> erased_at_[kKeys] = {};  // by this server, last; 0: never
  std::unique_ptr<RedisTier> tier_;
  std::unique_ptr<Tiered> cache_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_COHERENCE_SERVER_H_
