// SPDX-License-Identifier: Apache-2.0
#include "src/redis_outbox.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include "absl/types/span.h"

namespace larder::internal {
namespace {

// Chunks sent at once.
constexpr size_t kMostChunks = 16;

}  // namespace

void RedisOutbox::Add(const RedisRequest& request, std::shared_ptr<const RedisRequest> shared) {
  if (shared != nullptr) {
    chunks_.push_back({std::string(), std::move(shared)});
    return;
  }
  if (empty() || chunks_.back().shared != nullptr) {
    chunks_.push_back({std::exchange(spare_, std::string()), nullptr});
  }
  chunks_.back().own.append(request.wire());
}

void RedisOutbox::Take(RedisOutbox* more) {
  assert(empty());
  Clear();
  std::swap(chunks_, more->chunks_);
  std::swap(first_, more->first_);
  std::swap(sent_, more->sent_);
  // The memory that was used for the last ones will do for the next.
  std::swap(spare_, more->spare_);
}

bool RedisOutbox::Send(Stream& stream, uint64_t* sent) {
  while (!empty()) {
    std::array<iovec, kMostChunks> parts;
    const size_t count = std::min(chunks_.size() - first_, parts.size());
    for (size_t i = 0; i < count; ++i) {
      std::string_view bytes = chunks_[first_ + i].bytes();
      if (i == 0) bytes.remove_prefix(sent_);
      parts[i] = {const_cast<char*>(bytes.data()), bytes.size()};
    }
    const absl::StatusOr<size_t> done = stream.Send(absl::MakeConstSpan(parts.data(), count));
    if (!done.ok()) return false;
    if (*done == 0) return true;
    *sent += *done;
    for (sent_ += *done; !empty();) {
      Chunk& chunk = chunks_[first_];
      if (sent_ < chunk.bytes().size()) break;
      sent_ -= chunk.bytes().size();
      chunk.shared.reset();
      ++first_;
    }
  }
  return true;
}

void RedisOutbox::Clear() {
  if (!chunks_.empty() && chunks_.front().own.capacity() > spare_.capacity()) {
    spare_ = std::move(chunks_.front().own);
    spare_.clear();
  }
  chunks_.clear();
  first_ = 0;
  sent_ = 0;
}

}  // namespace larder::internal
