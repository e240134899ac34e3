// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_REDIS_LISTENER_H_
#define LARDER_SRC_REDIS_LISTENER_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "larder/redis_tier.h"
#include "src/deadline.h"
#include "src/redis_messages.h"
#include "src/stream.h"

namespace larder::internal {

// A connection on which the server speaks by itself, and a watch over its being alive: PING when
// nothing came for options.heartbeat_interval, after which something must come within
// options.heartbeat_timeout. No call waits. After an error only destruction is left.
//
// Not thread-safe.
class RedisListener {
 public:
  // `stream`: authenticated, with no answer outstanding.
  RedisListener(std::unique_ptr<Stream> stream, RedisMessages::From from,
                const RedisOptions& options, std::string address);

  int fd() const { return stream_->fd(); }
  RedisMessages& messages() { return messages_; }

  // Sends SUBSCRIBE for messages().channel().
  absl::Status Subscribe();

  // Takes what has arrived, or a part of it if it is very much. Unavailable if the connection is
  // lost; errors of RedisMessages::Feed.
  absl::Status Read();

  // Asks for a sign of life, by PING: messages().pongs() rises by one.
  absl::Status Ask();

  // Asks if it is time to. DeadlineExceeded if none came when it should have:
  // Read() first, lest the silence be ours.
  absl::Status Beat();
  // When to call Beat next.
  Deadline next_beat() const { return next_beat_; }

 private:
  absl::Status Send(std::string_view wire);
  absl::Status Error(absl::StatusCode code, std::string_view text) const;

  const std::unique_ptr<Stream> stream_;
  RedisMessages messages_;
  const absl::Duration interval_;
  const absl::Duration timeout_;
  const std::string address_;
  Deadline next_beat_;
  bool asked_ = false;  // since anything came
  size_t pings_ = 0;
};

}  // namespace larder::internal

#endif  // LARDER_SRC_REDIS_LISTENER_H_
