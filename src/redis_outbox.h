// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_REDIS_OUTBOX_H_
#define LARDER_SRC_REDIS_OUTBOX_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/redis_command.h"
#include "src/stream.h"

namespace larder::internal {

// Requests that wait to be sent, one after the other. Small ones are copied, so that many go out
// with one buffer; large ones are shared with their caller.
//
// Not thread-safe.
class RedisOutbox {
 public:
  // From here on a request is large.
  static constexpr size_t kLarge = size_t{16} << 10;

  // Appends the bytes of `request`. `shared` is the same, if that is to be kept rather than copied,
  // or null.
  void Add(const RedisRequest& request, std::shared_ptr<const RedisRequest> shared);

  // Appends all of `more`, which is empty afterwards. *this has to be empty.
  void Take(RedisOutbox* more);

  // Sends what goes without waiting, drops it, and adds the number of its bytes to *sent. False if
  // no more will go.
  bool Send(Stream& stream, uint64_t* sent);

  bool empty() const { return first_ == chunks_.size(); }
  void Clear();

 private:
  struct Chunk {
    std::string_view bytes() const { return shared != nullptr ? shared->wire() : own; }

    std::string own;
    std::shared_ptr<const RedisRequest> shared;
  };

  std::vector<Chunk> chunks_;
  size_t first_ = 0;   // chunks before it are sent
  size_t sent_ = 0;    // of the first
  std::string spare_;  // empty, but for its memory
};

}  // namespace larder::internal

#endif  // LARDER_SRC_REDIS_OUTBOX_H_
