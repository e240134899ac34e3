// SPDX-License-Identifier: Apache-2.0
//
// RemoteTags: what a server knows of the tag records in a shared tier.

#ifndef LARDER_INTERNAL_REMOTE_TAGS_H_
#define LARDER_INTERNAL_REMOTE_TAGS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "larder/internal/mutex.h"
#include "larder/internal/remote_control.h"

namespace larder::internal {

// Records that were read, until a change of them is told. Bounded: the oldest go first.
//
// Between reading a record and learning it, its change may be told; what is learned then would be
// old, and never forgotten. Hence tickets: taken before the read, and void once the tag was
// forgotten.
//
// Thread-safe; each call locks one of a few mutexes for a look-up, but ForgetAll, which is O(tags).
class RemoteTags {
 public:
  // What is known of a tag.
  struct Known {
    std::optional<RemoteTagRecord> record;  // nullopt: that the tier has none
  };

  class Ticket {
   private:
    friend class RemoteTags;
    explicit Ticket(uint64_t forgotten) : forgotten_(forgotten) {}
    uint64_t forgotten_;
  };

  explicit RemoteTags(size_t max_tags = 65'536);
  RemoteTags(const RemoteTags&) = delete;
  RemoteTags& operator=(const RemoteTags&) = delete;

  // nullopt where nothing is known: to be read from the tier.
  std::optional<Known> Find(std::string_view tag) const;

  // To be called before the record of this tag is read, or written.
  Ticket TicketFor(std::string_view tag) const;
  // What was read after that. False, and nothing is learned, where the tag was forgotten meanwhile
  // (or, by chance, another one). What was read may be used once all the same.
  bool Learn(std::string_view tag, Ticket ticket, const Known& known);

  // A change of its record was told, also of this server's own. To be called before the record is
  // read again. What was known of it: where that is what is read then, nothing is new.
  std::optional<Known> Forget(std::string_view tag);
  // Changes may have been missed.
  void ForgetAll();

  size_t size() const;

 private:
  static constexpr size_t kParts = 16;
  static constexpr size_t kCounters = 64;

  struct Tag {
    std::string name;
    Known known;
  };

  struct Part {
    mutable Mutex mutex;
    std::list<Tag> tags ABSL_GUARDED_BY(mutex);  // the oldest first
    // Keys refer to the names in `tags`.
    absl::flat_hash_map<absl::string_view, std::list<Tag>::iterator> by_name ABSL_GUARDED_BY(mutex);
    // How often tags with these hashes were forgotten.
    std::array<uint64_t, kCounters> forgotten ABSL_GUARDED_BY(mutex) = {};
  };

  // Where a tag belongs: by its hash.
  struct Place {
    size_t part;
    size_t counter;
  };
  static Place PlaceOf(std::string_view tag);

  const size_t max_in_part_;
  std::array<Part, kParts> parts_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_REMOTE_TAGS_H_
