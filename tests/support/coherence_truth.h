// SPDX-License-Identifier: Apache-2.0
//
// CoherenceTruth: a store that several processes share, and that knows of each value when it was
// overwritten.

#ifndef LARDER_TESTS_SUPPORT_COHERENCE_TRUTH_H_
#define LARDER_TESTS_SUPPORT_COHERENCE_TRUTH_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace larder::test {

// Nanoseconds of CLOCK_MONOTONIC, which all processes share.
int64_t MonotonicNow();

// For each key the sequence of its versions. Version 0 is that there is no such key; each write or
// erasure makes the next one, and has an id that no other write has, and that its value tells.
//
// Lives in memory that processes share; has no locks, so that a process may be killed anywhere.
// Thread-safe.
class CoherenceTruth {
 public:
  static constexpr int kKeys = 48;
  static constexpr uint64_t kMostVersions = 1 << 16;  // of one key
  static constexpr uint64_t kMostIds = 1 << 20;

  struct Version {
    uint64_t order = 0;
    uint64_t id = 0;  // 0 for version 0
    bool is_erased = true;
  };

  // An id for a write of `server`. Aborts where there are no more.
  uint64_t NewId(int server);
  int ServerOf(uint64_t id) const { return servers_[id].load(); }

  Version Newest(int key) const;

  // Makes the next version, and returns its order. What it replaces counts as overwritten once
  // Overwritten(key, order) was called, with the order returned.
  uint64_t Write(int key, uint64_t id, bool is_erased);
  void Overwritten(int key, uint64_t order);

  // The version that the write `id` made; 0: none yet.
  uint64_t OrderOf(uint64_t id) const { return orders_[id].load(); }

  // --- Values and keys

  // Keys that are changed past all caches, as by another program, which then invalidates them.
  static constexpr int kForeignKeys = 8;
  static bool IsForeign(int key) { return key >= kKeys - kForeignKeys; }
  // Some of those have a value from the beginning, and always.
  static bool IsErasable(int key) { return !IsForeign(key) || key % 2 == 0; }

  static std::string KeyName(int key);
  // The number of a key name.
  static int KeyNumber(std::string_view name);
  // Tells `key` and `id`, in 60 to some 600 bytes.
  static std::string ValueOf(int key, uint64_t id);
  // The id; nullopt for what is no value of `key`.
  static std::optional<uint64_t> IdOf(int key, std::string_view value);

  // --- The check of reads

  struct Reading {
    int server = 0;
    int key = 0;
    uint64_t least = 0;               // a version that it must not be older than
    std::optional<uint64_t> id = {};  // nullopt: not found
  };
  // When the version that was read was overwritten; 0: it isn't. nullopt where there was no such
  // version, or it was older than `least`.
  //
  // A value of the same server's that isn't in the store isn't overwritten: it waits to be written.
  std::optional<int64_t> OverwrittenAt(const Reading& reading) const;

  // The newest versions of a key, for people; times in ms before `now`.
  std::string History(int key, int64_t now) const;

 private:
  struct Entry {
    std::atomic<uint64_t> packed{0};         // 0: not known yet
    std::atomic<int64_t> written_at{0};      // 0: not known yet
    std::atomic<int64_t> overwritten_at{0};  // 0: isn't
  };

  static uint64_t Pack(const Version& version);
  static Version Unpack(uint64_t packed);
  int64_t OverwrittenAt(int key, uint64_t order) const;

  std::atomic<uint64_t> last_id_{0};
  std::atomic<uint64_t> newest_[kKeys] = {};  // packed; 0: version 0
  Entry entries_[kKeys][kMostVersions] = {};
  std::atomic<uint64_t> orders_[kMostIds] = {};
  std::atomic<uint8_t> servers_[kMostIds] = {};
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_COHERENCE_TRUTH_H_
