// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_REMOTE_TIER_H_
#define LARDER_REMOTE_TIER_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace larder {

// RemoteTier: bytes by key, kept outside the process and shared by servers. It is the tier between
// a server's own memory and its database.
//
// Keys and values are arbitrary bytes; both may be empty and may contain NUL.
//
// Every call takes `timeout`, the longest the caller will wait, measured on a monotonic clock from
// the moment of the call and covering everything the call does (waiting for a connection,
// connecting, retrying). absl::InfiniteDuration() leaves only the tier's own limits. A timeout that
// is zero or negative fails with DeadlineExceeded before anything is sent.
//
// Errors, for every call:
//   Unavailable         the tier can't be reached, or the connection was lost under way
//   DeadlineExceeded    no answer within `timeout` or the tier's own, shorter limit
//   ResourceExhausted   the tier is full and evicts nothing
//   Unauthenticated, PermissionDenied
//                       credentials are missing, wrong, or don't allow the operation; or it's the
//                       tier that couldn't prove who it is
//   FailedPrecondition  the tier is in a state that can't serve this (the key holds something that
//                       is no plain value, the server is a read-only replica)
//   Internal            the answer made no sense; nothing of it is used
// After Unavailable, DeadlineExceeded or Internal a Set or Erase may or may not have happened;
// after DeadlineExceeded it may happen yet, while what was sent is under way.
//
// Thread safety: implementations must allow concurrent calls of all methods.
class RemoteTier {
 public:
  virtual ~RemoteTier() = default;

  // The value of `key`, or nullopt if there is none.
  virtual absl::StatusOr<std::optional<std::string>> Get(std::string_view key,
                                                         absl::Duration timeout) = 0;

  // Stores `value` under `key` for `ttl`, replacing what was there, its ttl included.
  // absl::InfiniteDuration() means that it never expires. A ttl that is finer than the tier's
  // resolution is rounded up, so that nothing expires early. InvalidArgument if ttl <= 0.
  virtual absl::Status Set(std::string_view key, std::string_view value, absl::Duration ttl,
                           absl::Duration timeout) = 0;

  // Removes `key`. True if it was there.
  virtual absl::StatusOr<bool> Erase(std::string_view key, absl::Duration timeout) = 0;

  // The values of many keys: element i of the result belongs to keys[i]. Not a snapshot: the values
  // may stem from different moments between call and return. All or nothing: the first error is
  // returned. The default calls Get for each key, all within one `timeout`.
  virtual absl::StatusOr<std::vector<std::optional<std::string>>> GetMany(
      absl::Span<const std::string_view> keys, absl::Duration timeout);

  // Removes many keys and returns how many of them were there; a key named twice counts once. After
  // an error some may have been removed. The default calls Erase for each key, all within one
  // `timeout`.
  virtual absl::StatusOr<size_t> EraseMany(absl::Span<const std::string_view> keys,
                                           absl::Duration timeout);
};

}  // namespace larder

#endif  // LARDER_REMOTE_TIER_H_
