// SPDX-License-Identifier: Apache-2.0
//
// CoherenceShared: what the processes of a coherence check share.

#ifndef LARDER_TESTS_SUPPORT_COHERENCE_SHARED_H_
#define LARDER_TESTS_SUPPORT_COHERENCE_SHARED_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "larder/remote_options.h"
#include "larder/remote_stats.h"
#include "larder/write_policy.h"
#include "tests/support/coherence_truth.h"

namespace larder::test {

// How the servers are set up.
struct CoherenceSettings {
  uint64_t seed = 1;
  WritePolicy write_policy = WritePolicy::kThrough;
  WhenCutOff when_cut_off = WhenCutOff::kKeep;
  bool tcp = false;
  // Without it each server has its own memory, and nothing else: to see that the check finds that.
  bool has_tier = true;
  // Whether the store is changed past all caches, too. Where servers can't tell the tier what they
  // invalidate by tag or prefix, they disregard all that it has later, which hides other faults.
  bool others_write = true;
  // Nine of ten writes are of these.
  uint64_t hot_keys = 6;
  // Of a hundred operations, as many are writes.
  uint64_t share_of_writes = 18;
  // Up to this much, at random, is between two operations of a thread.
  absl::Duration pause = absl::Microseconds(600);

  // Short ones, for short tests.
  absl::Duration heartbeat_interval = absl::Milliseconds(60);
  absl::Duration heartbeat_timeout = absl::Milliseconds(120);
  absl::Duration timeout = absl::Milliseconds(50);
  absl::Duration unverified_ttl = absl::Milliseconds(120);
  absl::Duration last_probe = absl::Milliseconds(40);
  absl::Duration settle_time = absl::Milliseconds(150);
  absl::Duration write_lease = absl::Seconds(2);

  // What a server that hears of changes may lag behind, on a machine that is busy.
  absl::Duration lag = absl::Milliseconds(300);
  // Between the last write and the look at all keys.
  absl::Duration quiet = absl::Milliseconds(60);

  // How long a value may be returned after it was overwritten, where servers are cut off from the
  // tier: until they notice, and what they have is too old, and until they are back and have told
  // the others what they wrote.
  absl::Duration CutOffBound() const {
    const absl::Duration kept =
        when_cut_off == WhenCutOff::kKeep ? unverified_ttl : absl::ZeroDuration();
    return heartbeat_interval + heartbeat_timeout + kept + last_probe + 2 * timeout + lag;
  }
};

// What the parent wants of all threads of all servers. Each says when it has seen it.
enum class CoherencePhase : uint64_t {
  kWait,    // do nothing
  kRun,     // read and write
  kVerify,  // read every key: it must be the newest
  kEnd,
};

struct CoherenceServerState {
  static constexpr int kThreads = 3;

  // --- From the server
  std::atomic<int> health{0};
  std::atomic<int64_t> down_at{0};  // when it last was without the tier, or had missed something
  std::atomic<uint64_t> beats{0};   // how often it has looked whether it stood still
  std::atomic<uint64_t> missed_waiting{0};
  std::atomic<uint64_t> seen[kThreads] = {};  // the last order of the parent's that was carried out
  std::atomic<uint64_t> reads{0}, writes{0};
  std::atomic<uint64_t> invalidations{0}, late_invalidations{0};
  std::atomic<uint64_t> from_memory{0}, from_tier{0}, from_store{0};
  std::atomic<int64_t> most_stale{0}, most_stale_connected{0};  // ns
  std::atomic<uint64_t> least[CoherenceTruth::kKeys] = {};  // versions that reads may not be behind
  std::atomic<int> problems{0};
  std::atomic<bool> has_problem{false};  // `problem` is there
  char problem[4000] = {};

  // --- From the parent
  std::atomic<bool> dies_in_write{false};  // in its next one, when the store has it
};

struct CoherenceShared {
  static constexpr int kServers = 3;

  CoherenceTruth truth;
  // A number that grows, times 4, and the phase.
  std::atomic<uint64_t> order{0};
  // What was overwritten at `connected_since` or later must not be returned `bound` later; what was
  // before, or before a server lost the tier by itself, `cut_off_bound` later. Nanoseconds.
  std::atomic<int64_t> bound{0};
  std::atomic<int64_t> connected_since{0};
  std::atomic<int64_t> cut_off_bound{0};
  // Where only some servers are cut off, the others may miss what they write until then.
  std::atomic<int64_t> alone_since{0};  // 0: that isn't so
  std::atomic<int> alone{-1};           // the one that is cut off; -1: any
  // For how long servers stood still, counting what no machine has them do that is only busy: by as
  // much the bounds are longer.
  std::atomic<int64_t> stalled{0};
  CoherenceServerState servers[kServers];
};

// Where a server finds its tier.
struct CoherenceAddress {
  std::string unix_socket = {};
  int port = 0;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_COHERENCE_SHARED_H_
