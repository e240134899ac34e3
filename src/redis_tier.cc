// SPDX-License-Identifier: Apache-2.0
#include "larder/redis_tier.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "src/deadline.h"
#include "src/redis_calls.h"
#include "src/redis_command.h"
#include "src/redis_pool.h"
#include "src/redis_reply.h"
#include "src/redis_subscription.h"
#include "src/text.h"

namespace larder {
namespace {

using internal::Concat;
using internal::Deadline;
using internal::RedisPool;
using internal::RedisReplies;
using internal::RedisRequest;
using internal::ReplyKind;
using internal::ToCount;
using internal::ToDone;
using internal::ToValue;
using internal::ToValues;

// The longest head asked for: no value of Redis's is longer.
constexpr size_t kLongestHead = size_t{512} << 20;

absl::Status CheckTtl(absl::Duration ttl) {
  if (ttl > absl::ZeroDuration()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Concat("ttl is ", absl::FormatDuration(ttl), ": must be positive"));
}

absl::Status CheckTtls(absl::Span<const SharedTier::Change> changes) {
  for (const SharedTier::Change& change : changes) {
    if (absl::Status status = CheckTtl(change.ttl); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// Has the pool use the server that the subscription watches until this is destroyed: also where it
// is lost, as long as who has it may not know that yet.
class PinningSubscription : public SharedTier::Subscription {
 public:
  PinningSubscription(std::unique_ptr<SharedTier::Subscription> subscription, RedisPool* pool)
      : subscription_(std::move(subscription)),
        pool_(pool),
        pin_(pool->Pin(subscription_->incarnation())) {}
  ~PinningSubscription() override { pool_->Unpin(pin_); }

  absl::StatusOr<SharedTier::Changes> Next(absl::Duration timeout) override {
    return subscription_->Next(timeout);
  }
  void Wake() override { subscription_->Wake(); }
  const std::string& incarnation() const override { return subscription_->incarnation(); }
  bool tells_all() const override { return subscription_->tells_all(); }

 private:
  const std::unique_ptr<SharedTier::Subscription> subscription_;
  RedisPool* const pool_;
  const uint64_t pin_;
};

}  // namespace

class RedisTier::Impl : public internal::RedisCalls {
 public:
  using RedisCalls::RedisCalls;
};

RedisTier::RedisTier(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

RedisTier::~RedisTier() = default;

absl::StatusOr<std::unique_ptr<RedisTier>> RedisTier::Create(RedisOptions options) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  return std::unique_ptr<RedisTier>(new RedisTier(std::make_unique<Impl>(std::move(options))));
}

absl::Status RedisTier::Ping(absl::Duration timeout) {
  RedisRequest request;
  request.Add({"PING", ReplyKind::kStatus}, {"PING"});
  return impl_->Execute(std::move(request), timeout).status();
}

absl::StatusOr<std::optional<std::string>> RedisTier::Get(std::string_view key,
                                                          absl::Duration timeout) {
  RedisRequest request;
  request.Begin({"GET", ReplyKind::kString}, 2).Word("GET").Word(impl_->prefix(), key);
  const absl::StatusOr<RedisReplies> replies = impl_->Execute(std::move(request), timeout);
  if (!replies.ok()) return replies.status();
  return ToValue(*replies->front());
}

absl::StatusOr<std::vector<std::optional<std::string>>> RedisTier::GetMany(
    absl::Span<const std::string_view> keys, absl::Duration timeout) {
  if (keys.empty()) return std::vector<std::optional<std::string>>();
  const absl::StatusOr<RedisReplies> replies =
      impl_->Execute(impl_->ForKeys("MGET", ReplyKind::kStrings, keys), timeout);
  if (!replies.ok()) return replies.status();
  return ToValues(*replies, keys.size());
}

absl::StatusOr<std::vector<std::optional<std::string>>> RedisTier::GetHeads(
    absl::Span<const std::string_view> keys, size_t bytes, absl::Duration timeout) {
  if (keys.empty()) return std::vector<std::optional<std::string>>();
  const std::string most = Concat(std::min(bytes, kLongestHead));
  const absl::StatusOr<RedisReplies> replies =
      impl_->RunScript(timeout, [&](Impl::By by, RedisRequest* request) {
        Impl::InParts(keys, Impl::kKeysPerScript, [&](absl::Span<const std::string_view> some) {
          impl_->AddScript(by, "GetHeads", ReplyKind::kStrings, impl_->scripts().heads, some,
                           {most}, request);
        });
      });
  if (!replies.ok()) return replies.status();
  return ToValues(*replies, keys.size());
}

absl::StatusOr<absl::Duration> RedisTier::TimeToLive(std::string_view key, absl::Duration timeout) {
  RedisRequest request;
  request.Begin({"PTTL", ReplyKind::kInteger}, 2).Word("PTTL").Word(impl_->prefix(), key);
  const absl::StatusOr<RedisReplies> replies = impl_->Execute(std::move(request), timeout);
  if (!replies.ok()) return replies.status();
  const int64_t millis = replies->front()->integer;
  if (millis == -1) return absl::InfiniteDuration();
  return absl::Milliseconds(std::max<int64_t>(millis, 0));
}

absl::Time RedisTier::Now() const { return impl_->pool().ServersNow(); }

absl::Status RedisTier::Set(std::string_view key, std::string_view value, absl::Duration ttl,
                            absl::Duration timeout) {
  if (absl::Status status = CheckTtl(ttl); !status.ok()) return status;
  if (impl_->publish()) {
    return impl_
        ->RunScript(timeout,
                    [&](Impl::By by, RedisRequest* request) {
                      impl_->AddScript(by, "SET", ReplyKind::kVerdict, impl_->scripts().set, {key},
                                       {value, Impl::ScriptTtl(ttl)}, request);
                    })
        .status();
  }
  RedisRequest request;
  impl_->AddSet({key, value, ttl}, /*if_absent=*/false, &request);
  return impl_->Execute(std::move(request), timeout).status();
}

absl::StatusOr<bool> RedisTier::Erase(std::string_view key, absl::Duration timeout) {
  const absl::StatusOr<size_t> erased = EraseMany({key}, timeout);
  if (!erased.ok()) return erased.status();
  return *erased > 0;
}

absl::StatusOr<size_t> RedisTier::EraseMany(absl::Span<const std::string_view> keys,
                                            absl::Duration timeout) {
  if (keys.empty()) return size_t{0};
  absl::StatusOr<RedisReplies> replies;
  if (impl_->publish()) {
    replies = impl_->RunScript(timeout, [&](Impl::By by, RedisRequest* request) {
      Impl::InParts(keys, Impl::kKeysPerScript, [&](absl::Span<const std::string_view> some) {
        impl_->AddScript(by, "DEL", ReplyKind::kInteger, impl_->scripts().erase, some, {}, request);
      });
    });
  } else {
    replies = impl_->Execute(impl_->ForKeys("DEL", ReplyKind::kInteger, keys), timeout);
  }
  if (!replies.ok()) return replies.status();
  return ToCount(*replies);
}

absl::Status RedisTier::Invalidate(absl::Span<const std::string_view> keys,
                                   absl::Duration timeout) {
  if (keys.empty()) return absl::OkStatus();
  return impl_
      ->RunScript(timeout,
                  [&](Impl::By by, RedisRequest* request) {
                    Impl::InParts(keys, Impl::kKeysPerScript,
                                  [&](absl::Span<const std::string_view> k) {
                                    impl_->AddScript(by, "Invalidate", ReplyKind::kVerdict,
                                                     impl_->scripts().invalidate, k, {}, request);
                                  });
                  })
      .status();
}

absl::StatusOr<bool> RedisTier::SetIfAbsent(std::string_view key, std::string_view value,
                                            absl::Duration ttl, absl::Duration timeout) {
  const absl::StatusOr<std::vector<bool>> done = SetManyIfAbsent({{key, value, ttl}}, timeout);
  if (!done.ok()) return done.status();
  return done->front();
}

absl::StatusOr<std::vector<bool>> RedisTier::SetManyIfAbsent(absl::Span<const Change> changes,
                                                             absl::Duration timeout) {
  if (changes.empty()) return std::vector<bool>();
  if (absl::Status status = CheckTtls(changes); !status.ok()) return status;
  absl::StatusOr<RedisReplies> replies;
  if (impl_->publish()) {
    replies = impl_->RunScript(timeout, [&](Impl::By by, RedisRequest* request) {
      request->ExecuteOnce();
      for (const Change& change : changes) {
        impl_->AddScript(by, "SetIfAbsent", ReplyKind::kVerdict, impl_->scripts().set_if_absent,
                         {change.key}, {change.value, Impl::ScriptTtl(change.ttl)}, request);
      }
    });
  } else {
    RedisRequest request;
    request.ExecuteOnce();
    for (const Change& change : changes) impl_->AddSet(change, /*if_absent=*/true, &request);
    replies = impl_->Execute(std::move(request), timeout);
  }
  if (!replies.ok()) return replies.status();
  return ToDone(*replies);
}

absl::StatusOr<bool> RedisTier::SetIfHead(std::string_view key, std::string_view head,
                                          std::string_view value, absl::Duration ttl,
                                          absl::Duration timeout) {
  const absl::StatusOr<std::vector<bool>> done = SetManyIfHead({{key, value, ttl, head}}, timeout);
  if (!done.ok()) return done.status();
  return done->front();
}

absl::StatusOr<std::vector<bool>> RedisTier::SetManyIfHead(absl::Span<const Change> changes,
                                                           absl::Duration timeout) {
  if (changes.empty()) return std::vector<bool>();
  if (absl::Status status = CheckTtls(changes); !status.ok()) return status;
  const absl::StatusOr<RedisReplies> replies =
      impl_->RunScript(timeout, [&](Impl::By by, RedisRequest* request) {
        request->ExecuteOnce();
        for (const Change& change : changes) {
          impl_->AddScript(by, "SetIfHead", ReplyKind::kVerdict, impl_->scripts().set_if_head,
                           {change.key}, {change.head, change.value, Impl::ScriptTtl(change.ttl)},
                           request);
        }
      });
  if (!replies.ok()) return replies.status();
  return ToDone(*replies);
}

absl::StatusOr<bool> RedisTier::EraseIfHead(std::string_view key, std::string_view head,
                                            absl::Duration timeout) {
  const absl::StatusOr<RedisReplies> replies =
      impl_->RunScript(timeout, [&](Impl::By by, RedisRequest* request) {
        request->ExecuteOnce();
        impl_->AddScript(by, "EraseIfHead", ReplyKind::kVerdict, impl_->scripts().erase_if_head,
                         {key}, {head}, request);
      });
  if (!replies.ok()) return replies.status();
  return ToDone(*replies).front();
}

absl::StatusOr<std::optional<std::string>> RedisTier::Exchange(std::string_view key,
                                                               std::string_view value,
                                                               absl::Duration ttl,
                                                               size_t head_bytes,
                                                               absl::Duration timeout) {
  absl::StatusOr<std::vector<std::optional<std::string>>> heads =
      ExchangeMany({{key, value, ttl}}, head_bytes, timeout);
  if (!heads.ok()) return heads.status();
  return std::move(heads->front());
}

absl::StatusOr<std::vector<std::optional<std::string>>> RedisTier::ExchangeMany(
    absl::Span<const Change> changes, size_t head_bytes, absl::Duration timeout) {
  if (changes.empty()) return std::vector<std::optional<std::string>>();
  if (absl::Status status = CheckTtls(changes); !status.ok()) return status;
  const std::string most = Concat(std::min(head_bytes, kLongestHead));
  const absl::StatusOr<RedisReplies> replies =
      impl_->RunScript(timeout, [&](Impl::By by, RedisRequest* request) {
        request->ExecuteOnce();
        for (const Change& change : changes) {
          impl_->AddScript(by, "Exchange", ReplyKind::kHeads, impl_->scripts().exchange,
                           {change.key}, {most, change.value, Impl::ScriptTtl(change.ttl)},
                           request);
        }
      });
  if (!replies.ok()) return replies.status();
  std::vector<std::optional<std::string>> heads;
  heads.reserve(replies->size());
  for (const internal::RedisReply& reply : *replies) heads.push_back(ToValue(*reply->element[1]));
  return heads;
}

absl::StatusOr<std::unique_ptr<SharedTier::Subscription>> RedisTier::Subscribe(
    absl::Duration timeout) {
  if (!impl_->pool().options().identify_servers) {
    return absl::FailedPreconditionError(
        Concat(impl_->pool().address(),
               ": RedisOptions::identify_servers is false: calls might go to another server than "
               "the one of which changes are heard"));
  }
  absl::StatusOr<std::unique_ptr<internal::RedisSubscription>> subscription =
      internal::RedisSubscription::Start(impl_->pool().options(), impl_->pool().address(),
                                         Deadline::After(timeout));
  if (!subscription.ok()) return subscription.status();
  return std::make_unique<PinningSubscription>(*std::move(subscription), &impl_->pool());
}

}  // namespace larder
