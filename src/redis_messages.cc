// SPDX-License-Identifier: Apache-2.0
#include "src/redis_messages.h"

#include <new>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "src/text.h"

namespace larder::internal {
namespace {

constexpr std::string_view kInvalidateChannel = "__redis__:invalidate";

// Redis tells of all keys that one of its rounds changed (a script, say) in one message. More than
// this is taken for nonsense, or at least ends the subscription, after which nobody relies on what
// was told. Large enough for what Redis itself limits a client's buffer to by default, 32 MB.
constexpr size_t kMostKeys = size_t{1} << 20;
constexpr size_t kMostMessageBytes = size_t{1} << 28;

// The words of a message: its kind, the channel, and the payload.
constexpr size_t kMessageWords = 3;

// hiredis moves the rest of its buffer each time that it has parsed some: it gets little at a time.
constexpr size_t kPiece = size_t{1} << 14;

std::string ChannelOf(RedisMessages::From from, std::string_view key_prefix) {
  switch (from) {
    case RedisMessages::From::kTracking:
      return std::string(kInvalidateChannel);
    case RedisMessages::From::kNotices:
      return Concat(key_prefix, kNoticeChannel);
    case RedisMessages::From::kNothing:
      break;
  }
  return "";
}

ArrayLimit LimitOfOneMessage() { return {kMostKeys, 0, kMostKeys + kMessageWords}; }

bool IsString(const redisReply& reply) { return reply.type == REDIS_REPLY_STRING; }

bool IsString(const redisReply& reply, std::string_view text) {
  return IsString(reply) && ReplyText(reply) == text;
}

absl::Status Unexpected(std::string_view what) {
  return absl::InternalError(Concat("unexpected message: ", what));
}

}  // namespace

RedisMessages::RedisMessages(From from, std::string key_prefix)
    : from_(from),
      key_prefix_(std::move(key_prefix)),
      channel_(ChannelOf(from_, key_prefix_)),
      array_limit_(LimitOfOneMessage()),
      reader_(redisReaderCreate()) {
  if (reader_ == nullptr) throw std::bad_alloc();
  LimitArrays(reader_.get(), &array_limit_);
}

absl::Status RedisMessages::Feed(std::string_view bytes) {
  if (broken_) return absl::InternalError("nothing can be read after an error");
  broken_ = true;  // whatever ends this early: what was told so far might not be all
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, kPiece);
    bytes.remove_prefix(piece.size());
    message_bytes_ += piece.size();
    if (redisReaderFeed(reader_.get(), piece.data(), piece.size()) != REDIS_OK) {
      return absl::ResourceExhaustedError("out of memory for a message");
    }
    if (absl::Status status = Parse(); !status.ok()) return status;
    if (message_bytes_ > kMostMessageBytes) {
      return absl::InternalError(Concat("a message of more than ", kMostMessageBytes, " bytes"));
    }
  }
  broken_ = false;
  return absl::OkStatus();
}

// Handles the messages that are complete.
absl::Status RedisMessages::Parse() {
  while (true) {
    void* parsed = nullptr;
    if (redisReaderGetReply(reader_.get(), &parsed) != REDIS_OK) {
      if (array_limit_.refused > 0) {
        return absl::InternalError(
            Concat("bad message: an array of ", array_limit_.refused, ", more than can be right"));
      }
      return absl::InternalError(Concat("bad message: ", reader_->errstr));
    }
    if (parsed == nullptr) return absl::OkStatus();
    const RedisReply reply(static_cast<redisReply*>(parsed));
    message_bytes_ = reader_->len - reader_->pos;
    array_limit_ = LimitOfOneMessage();
    if (absl::Status status = Handle(*reply); !status.ok()) return status;
  }
}

absl::Status RedisMessages::Handle(const redisReply& reply) {
  if (reply.type == REDIS_REPLY_ERROR) {
    const std::string_view text = ReplyText(reply);
    absl::StatusCode code = MeaningOfErrorReply("SUBSCRIBE", text).code;
    const bool unknown = code == absl::StatusCode::kInternal && !subscribed_;
    if (unknown) code = absl::StatusCode::kFailedPrecondition;  // it can't, in so many words
    return absl::Status(code, Concat(text));
  }
  if (reply.type == REDIS_REPLY_ARRAY && from_ != From::kNothing) return HandleArray(reply);
  // Without a subscription, PING is answered as for any other client.
  if (reply.type == REDIS_REPLY_STATUS && from_ == From::kNothing && ReplyText(reply) == "PONG") {
    ++pongs_;
    return absl::OkStatus();
  }
  return Unexpected("of a type that no message has");
}

absl::Status RedisMessages::HandleArray(const redisReply& reply) {
  if (reply.elements < 2 || !IsString(*reply.element[0])) return Unexpected("without a kind");
  const std::string_view kind = ReplyText(*reply.element[0]);
  if (kind == "pong" && reply.elements == 2 && IsString(*reply.element[1], "")) {
    ++pongs_;
    return absl::OkStatus();
  }
  if (reply.elements != kMessageWords || !IsString(*reply.element[1], channel_)) {
    return Unexpected("of another channel");
  }
  const redisReply& payload = *reply.element[2];
  if (kind == "subscribe" && payload.type == REDIS_REPLY_INTEGER && payload.integer == 1) {
    subscribed_ = true;
    return absl::OkStatus();
  }
  if (kind != "message") return Unexpected(Concat("of the kind \"", kind.substr(0, 20), "\""));
  if (!subscribed_) return Unexpected("before the subscription was confirmed");
  return from_ == From::kTracking ? HandleInvalidation(payload) : HandleNotice(payload);
}

// Client tracking: names of keys, or nil when all were removed.
absl::Status RedisMessages::HandleInvalidation(const redisReply& payload) {
  if (payload.type == REDIS_REPLY_NIL) {
    HandleAll();
    return absl::OkStatus();
  }
  if (payload.type != REDIS_REPLY_ARRAY) return Unexpected("an invalidation without keys");
  for (size_t i = 0; i < payload.elements; ++i) {
    if (!IsString(*payload.element[i])) return Unexpected("an invalidation of what is no key");
  }
  for (size_t i = 0; i < payload.elements; ++i) {
    std::string_view key = ReplyText(*payload.element[i]);
    // Anybody may have this connection told of other keys.
    if (!key.starts_with(key_prefix_)) continue;
    key.remove_prefix(key_prefix_.size());
    HandleKey(key);
  }
  return absl::OkStatus();
}

absl::Status RedisMessages::HandleNotice(const redisReply& payload) {
  if (!IsString(payload)) return Unexpected("a notice that is no string");
  std::string_view text = ReplyText(payload);
  if (text == kAllNotice) {
    HandleAll();
  } else if (text.starts_with(kKeyNotice)) {
    HandleKey(text.substr(kKeyNotice.size()));
  } else if (text.starts_with(kProbeNotice)) {
    probed_ = probed_ || text.substr(kProbeNotice.size()) == probe_;
  } else {
    return Unexpected("a notice of an unknown kind");
  }
  return absl::OkStatus();
}

void RedisMessages::HandleKey(std::string_view key) {
  if (!key.starts_with(kProbeKey)) {
    keys_.emplace_back(key);
  } else if (key.substr(kProbeKey.size()) == probe_) {
    probed_ = true;
  }
}

void RedisMessages::HandleAll() {
  all_ = true;
  keys_.clear();  // goes without saying
}

SharedTier::Changes RedisMessages::TakeChanges() {
  absl::flat_hash_set<std::string_view> seen;
  seen.reserve(keys_.size());
  std::vector<bool> repeated(keys_.size());
  for (size_t i = 0; i < keys_.size(); ++i) repeated[i] = !seen.insert(keys_[i]).second;
  seen.clear();  // it refers to what is moved now
  size_t kept = 0;
  for (size_t i = 0; i < keys_.size(); ++i) {
    if (repeated[i]) continue;
    if (kept != i) keys_[kept] = std::move(keys_[i]);
    ++kept;
  }
  keys_.resize(kept);
  return {std::exchange(keys_, {}), std::exchange(all_, false)};
}

}  // namespace larder::internal
