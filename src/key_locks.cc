// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/key_locks.h"

#include <thread>

#include "absl/container/flat_hash_map.h"
#include "larder/internal/mutex.h"

namespace larder::internal {

struct alignas(64) KeyLocks::Shard {
  struct Owner {
    std::thread::id thread;
    uint64_t turn;  // tells two holds of one lock apart
  };

  Mutex mutex;
  CondVar released;
  int waiting ABSL_GUARDED_BY(mutex) = 0;
  uint64_t turns ABSL_GUARDED_BY(mutex) = 0;
  absl::flat_hash_map<uint64_t, Owner> owners ABSL_GUARDED_BY(mutex);
};

KeyLocks::KeyLocks() : shards_(new Shard[kShards]) {}
KeyLocks::~KeyLocks() = default;

KeyLocks::Shard& KeyLocks::ShardOf(uint64_t hash) const { return shards_[hash % kShards]; }

KeyLocks::Hold::Hold(KeyLocks& locks, uint64_t hash, bool waits) : locks_(locks), hash_(hash) {
  Shard& shard = locks_.ShardOf(hash);
  const std::thread::id self = std::this_thread::get_id();
  MutexLock lock(&shard.mutex);
  for (;;) {
    const auto [owner, free] = shard.owners.try_emplace(hash, Shard::Owner{self, shard.turns});
    held_ = free;
    if (free) ++shard.turns;
    if (free || !waits || owner->second.thread == self) return;
    ++shard.waiting;
    shard.released.Wait(&shard.mutex);
    --shard.waiting;
  }
}

void KeyLocks::Await(uint64_t hash) {
  Shard& shard = ShardOf(hash);
  MutexLock lock(&shard.mutex);
  auto owner = shard.owners.find(hash);
  if (owner == shard.owners.end() || owner->second.thread == std::this_thread::get_id()) return;
  const uint64_t turn = owner->second.turn;
  while (owner != shard.owners.end() && owner->second.turn == turn) {
    ++shard.waiting;
    shard.released.Wait(&shard.mutex);
    --shard.waiting;
    owner = shard.owners.find(hash);
  }
}

KeyLocks::Hold::~Hold() {
  if (!held_) return;
  Shard& shard = locks_.ShardOf(hash_);
  bool awaited = false;
  {
    MutexLock lock(&shard.mutex);
    shard.owners.erase(hash_);
    awaited = shard.waiting > 0;
  }
  if (awaited) shard.released.NotifyAll();
}

}  // namespace larder::internal
