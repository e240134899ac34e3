// SPDX-License-Identifier: Apache-2.0
//
// OwnChanges, ForeignMarks: tell a server's own changes of a shared tier from those of others.

#ifndef LARDER_INTERNAL_OWN_CHANGES_H_
#define LARDER_INTERNAL_OWN_CHANGES_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "larder/internal/mutex.h"
#include "larder/internal/remote_head.h"

namespace larder::internal {

// A tier tells of every change of a key, also of one's own, and doesn't say whose it was. A foreign
// one has to throw the key out of memory; an own one must not, or a value that was just loaded or
// written would never stay. So operations that change a key are known here, with their stamps, for
// as long as word of their changes may come:
//
//   pending   from before its first change (a lease, an intent). What is told is only noted.
//   sent      from before its last change (the value) is sent: what is told is to be checked, that
//             is, the head of what is there now is to be read, and IsOwn asked.
//   finished  with success: as sent, for some time, since word comes late. Without success it is
//             gone at once. Of each key the last few are kept, since only the last is still there.
//
// Why nothing foreign is lost. The last change is made only on top of the operation's own first one
// (SetIfHead): if it succeeds, nobody else's change is between the two, and one that was told
// before is older than what is there now, and than what goes to memory. If it doesn't succeed, the
// operation is told to have been noted, and has the key thrown out itself. A foreign change that
// comes after the last one is told after it, and thus after it was sent: it is found by the check,
// which reads what is there after the word came. Should there be another own change on top of it,
// then that is the newer one, and the same holds for it.
//
// What memory holds while an operation is pending may be as old as the operation, where a foreign
// change was only noted; where that matters, kNoted can be treated like kCheck: IsOwn knows pending
// ones, too.
//
// Thread-safe; each call locks one of a few mutexes, for O(operations under way on the key).
class OwnChanges {
 public:
  enum class Answer {
    kForeign,  // no own operation may have made the change
    kNoted,    // an operation is pending and will see to it
    kCheck,    // read the head, and ask IsOwn
  };

  struct Options {
    // Finished operations that are remembered. Past that the oldest are forgotten, and late word of
    // them is taken for foreign.
    size_t max_finished = 65'536;
    // How long they are, at least, where there aren't more.
    absl::Duration keep_finished = absl::Seconds(10);
  };

  class Operation;

  // Two constructors: gcc 12 refuses {} as a default argument of a class's own nested type.
  OwnChanges() : OwnChanges(Options()) {}
  explicit OwnChanges(const Options& options);
  OwnChanges(const OwnChanges&) = delete;
  OwnChanges& operator=(const OwnChanges&) = delete;
  // All operations must have ended.
  ~OwnChanges();

  // Before the first change that has the stamp. Several operations may be under way on one key;
  // each has another stamp.
  Operation Begin(std::string_view key, Stamp stamp);

  // A change of `key` was told. To be called before the head is read.
  Answer Told(std::string_view key);

  // Whether an operation on `key` that is known here has the stamp.
  bool IsOwn(std::string_view key, Stamp stamp) const;

  // Operations that are known: under way, and finished.
  size_t under_way() const;
  size_t finished() const;

 private:
  enum class State : uint8_t { kPending, kSent, kFinished };

  struct Op {
    Stamp stamp;
    State state = State::kPending;
    bool noted = false;
  };

  struct Finished {
    int64_t at;
    std::string key;
    Stamp stamp;
  };

  struct Part {
    mutable Mutex mutex;
    absl::flat_hash_map<std::string, std::vector<Op>> ops ABSL_GUARDED_BY(mutex);
    std::deque<Finished> finished ABSL_GUARDED_BY(mutex);  // the oldest first
    size_t under_way ABSL_GUARDED_BY(mutex) = 0;
  };

  static constexpr size_t kParts = 16;
  static constexpr size_t kFinishedOfKey = 4;

  Part& PartOf(std::string_view key);
  const Part& PartOf(std::string_view key) const;
  void MarkSent(const std::string& key, Stamp stamp);
  bool End(const std::string& key, Stamp stamp, bool success, int64_t now_nanos);
  void ForgetOld(Part& part, int64_t now_nanos) ABSL_EXCLUSIVE_LOCKS_REQUIRED(part.mutex);
  static void Drop(Part& part, std::string_view key, Stamp stamp)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(part.mutex);

  const size_t max_in_part_;
  const int64_t keep_nanos_;
  std::array<Part, kParts> parts_;
};

// One that is under way. Ends without success where nothing else is said. Not thread-safe; movable.
class OwnChanges::Operation {
 public:
  // None.
  Operation() = default;
  Operation(Operation&& other) noexcept;
  Operation& operator=(Operation&& other) noexcept;
  ~Operation();

  // Before the last change is sent.
  void MarkSent();

  // Once its last change was made (`success`), or wasn't, or may not have been. `now_nanos`: of a
  // Clock, the same in all calls. True where it was told of changes that nothing
  // makes up for: then the caller has to treat the key as changed by others. To be called once.
  [[nodiscard]] bool Finish(bool success, int64_t now_nanos);

  Stamp stamp() const { return stamp_; }

 private:
  friend class OwnChanges;
  Operation(OwnChanges* owner, std::string_view key, Stamp stamp)
      : owner_(owner), key_(key), stamp_(stamp) {}

  OwnChanges* owner_ = nullptr;  // nullptr: none, or it has ended
  std::string key_;
  Stamp stamp_;
};

// Counts foreign changes by key, roughly: many keys share a counter. Whoever puts a value into
// memory that may be older than a change compares the counter before it got the value with that
// after it was put there; if it differs, the value has to be thrown out again. Whoever tells of
// changes counts first, and throws out then:
//
//   puts first, then it is thrown out by the one who tells;
//   is thrown out first: then it was counted before that, and the one who puts sees that.
//
// "First" is decided by memory's lock on the key, which both take. Thread-safe, without a lock.
class ForeignMarks {
 public:
  uint64_t Of(std::string_view key) const {
    return marks_[IndexOf(key)].load(std::memory_order_acquire);
  }
  void Add(std::string_view key) { marks_[IndexOf(key)].fetch_add(1, std::memory_order_acq_rel); }
  // All keys.
  void AddAll();

 private:
  static constexpr size_t kMarks = 1024;
  static size_t IndexOf(std::string_view key);

  std::array<std::atomic<uint64_t>, kMarks> marks_ = {};
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_OWN_CHANGES_H_
