// SPDX-License-Identifier: Apache-2.0
//
// JournalModel: a journal, the store behind it, and what of it all has to survive.

#ifndef LARDER_TESTS_SUPPORT_JOURNAL_MODEL_H_
#define LARDER_TESTS_SUPPORT_JOURNAL_MODEL_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "larder/internal/journal.h"
#include "tests/support/faulty_file_system.h"

namespace larder::test {

// Keys have versions, each with a higher number than those before it. A version is appended to the
// journal, waits, and goes to the store; then, or when a newer one waits, it is acknowledged. The
// store survives every crash. Not thread-safe.
class JournalModel {
 public:
  static constexpr size_t kKeys = 4;

  // `files` must outlive it, or be replaced.
  JournalModel(FaultyFileSystem* files, Durability durability)
      : files_(files), durability_(durability) {}

  // Opens the journal and checks what it found. Returns whether it could be opened; a failure is
  // the test's only where nothing is told to fail.
  bool Open();
  void Close();
  bool is_open() const { return journal_ != nullptr; }
  internal::Journal& journal() { return *journal_; }

  // Appends a new version of a key. Returns whether that succeeded.
  bool Put(size_t key, size_t bytes);
  // Brings the oldest version that waits to the store and acknowledges it.
  void Store(size_t key);
  // Acknowledges all versions that wait but the newest.
  void Supersede(size_t key);
  bool Sync();

  // A random one of these.
  void Step(std::mt19937_64& random);

  // What a crash at this moment would leave: checks that it is right, and that a journal that goes
  // on from there works. The model and its journal stay as they are.
  void CheckCrash(CrashKind kind, uint64_t seed) const;

  // Continues on another disk, after a crash of this kind there. The journal is forgotten.
  void ContinueOn(FaultyFileSystem* files, CrashKind kind);

 private:
  using Versions = std::array<uint64_t, kKeys>;
  struct Write {
    uint64_t sequence = 0;
    uint64_t version = 0;
  };

  static std::string PayloadOf(size_t key, uint64_t version, size_t bytes);
  static std::pair<size_t, uint64_t> KeyAndVersion(const std::string& payload);

  // Checks what was found after a crash, and returns the versions that the store has once that is
  // replayed.
  Versions Check(const internal::JournalRecovery& found, uint64_t writer,
                 const Versions& promised) const;
  void Acknowledge(uint64_t sequence) {
    journal_->Acknowledge(absl::Span<const uint64_t>(&sequence, 1));
  }

  FaultyFileSystem* files_;
  Durability durability_;
  std::unique_ptr<internal::Journal> journal_;

  uint64_t last_version_ = 0;
  std::array<std::deque<Write>, kKeys> waiting_;  // appended and not acknowledged
  Versions stored_{};
  // Versions that must not be followed by older ones, once what is found is replayed: after the end
  // of the process, after that of the system.
  Versions survives_process_{};
  Versions survives_system_{};
  // How the next Open has to find it.
  CrashKind last_crash_ = CrashKind::kProcess;

  std::optional<uint64_t> writer_;  // once something was appended
  uint64_t last_sequence_ = 0;
  std::map<uint64_t, uint64_t> versions_;  // by sequence
  std::set<uint64_t> failed_;              // versions whose append failed: may be there or not
  std::set<uint64_t> gone_;                // the same, and a later one succeeded
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_JOURNAL_MODEL_H_
