// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_REDIS_MESSAGES_H_
#define LARDER_SRC_REDIS_MESSAGES_H_

#include <hiredis/hiredis.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "larder/shared_tier.h"
#include "src/redis_reply.h"

namespace larder::internal {

// Notices: what RedisTiers with ChangeNotices::kPublish tell each other, by PUBLISH on the channel
// key_prefix + kNoticeChannel. A notice is kKeyNotice + a key (without the prefix) that was
// changed; or kAllNotice alone: anything may have changed. Anything else is no notice, and ends the
// subscription of whoever hears it.
//
// The change and its notice have to be one transaction or script, the notice last: a server that
// dies or loses the connection in between would have changed something that nobody is told of.
inline constexpr std::string_view kNoticeChannel = "larder.changes";
inline constexpr std::string_view kKeyNotice = "k";
inline constexpr std::string_view kAllNotice = "a";
// Followed by any text: tells nothing, but that notices arrive.
inline constexpr std::string_view kProbeNotice = "p";

// Keys that begin so, behind the prefix, are written to see whether tracking works. Never told of.
inline constexpr std::string_view kProbeKey = "larder.probe.";

// What a server says by itself on a connection, in RESP2: bytes in, changes out.
//
// Memory: a few times the bytes of the largest message, which is limited; and the keys until they
// are taken.
//
// Not thread-safe.
class RedisMessages {
 public:
  // For a connection that subscribes to key_prefix + kNoticeChannel, or to what client tracking
  // tells of keys with the prefix. No subscription at all: kNothing, only answers to PING come.
  enum class From { kTracking, kNotices, kNothing };
  RedisMessages(From from, std::string key_prefix);

  RedisMessages(const RedisMessages&) = delete;
  RedisMessages& operator=(const RedisMessages&) = delete;

  // The channel to SUBSCRIBE to.
  const std::string& channel() const { return channel_; }

  // Takes the bytes that came next. Internal for whatever is no message that may come on this
  // connection; what an error reply means where one came. Afterwards every call fails. Amortized
  // O(bytes).
  absl::Status Feed(std::string_view bytes);

  // Whether the server confirmed the subscription.
  bool subscribed() const { return subscribed_; }

  // The number of answers to PING until now.
  size_t pongs() const { return pongs_; }

  // Which probe to wait for, and whether word of it came.
  void ExpectProbe(std::string probe) { probe_ = std::move(probe), probed_ = false; }
  bool probed() const { return probed_; }

  // What was told and not taken yet. Taking is O(keys).
  bool has_changes() const { return all_ || !keys_.empty(); }
  size_t key_count() const { return keys_.size(); }
  SharedTier::Changes TakeChanges();

 private:
  struct ReaderDeleter {
    void operator()(redisReader* reader) const { redisReaderFree(reader); }
  };

  absl::Status Parse();
  absl::Status Handle(const redisReply& reply);
  absl::Status HandleArray(const redisReply& reply);
  absl::Status HandleInvalidation(const redisReply& payload);
  absl::Status HandleNotice(const redisReply& payload);
  void HandleKey(std::string_view key);
  void HandleAll();

  const From from_;
  const std::string key_prefix_;
  const std::string channel_;
  ArrayLimit array_limit_;  // before reader_, which points here
  const std::unique_ptr<redisReader, ReaderDeleter> reader_;
  size_t message_bytes_ = 0;  // fed since the last complete message
  bool broken_ = false;
  bool subscribed_ = false;
  size_t pongs_ = 0;
  std::string probe_;
  bool probed_ = false;
  std::vector<std::string> keys_;  // in the order told; some more than once
  bool all_ = false;
};

}  // namespace larder::internal

#endif  // LARDER_SRC_REDIS_MESSAGES_H_
