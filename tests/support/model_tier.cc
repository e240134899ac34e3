// SPDX-License-Identifier: Apache-2.0

#include "tests/support/model_tier.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/deadline.h"

namespace larder::test {

using internal::Deadline;
using internal::MutexLock;

// A subscription. All fields but the constant one are under the server's lock.
class ModelTier::Listener : public SharedTier::Subscription {
 public:
  Listener(ModelTier* tier, std::string incarnation)
      : tier_(*tier), incarnation_(std::move(incarnation)) {}

  ~Listener() override {
    const MutexLock lock(&tier_.server_.mutex_);
    std::erase(tier_.listeners_, this);
  }

  absl::StatusOr<Changes> Next(absl::Duration timeout) override {
    ModelServer& server = tier_.server_;
    const Deadline deadline = Deadline::After(timeout);
    const MutexLock lock(&server.mutex_);
    waiting_ = true;
    while (!lost_ && !woken_ && Allowed() == 0 && !deadline.Passed()) {
      server.changed_.WaitFor(&server.mutex_, deadline.Remaining());
    }
    waiting_ = false;
    woken_ = false;
    if (lost_) return absl::UnavailableError("the subscription is lost");
    return TakeAllowed();
  }

  void Wake() override {
    const MutexLock lock(&tier_.server_.mutex_);
    woken_ = true;
    tier_.server_.changed_.NotifyAll();
  }

  const std::string& incarnation() const override { return incarnation_; }
  bool tells_all() const override { return true; }

  // --- Under the lock

  // nullopt: everything.
  void Tell(std::optional<std::string> key) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (!lost_) pending_.push_back(std::move(key));
  }
  void Lose() {
    lost_ = true;
    pending_.clear();
  }
  void Allow(size_t changes) { allowance_ += changes; }
  void StopAllowing() { allowance_ = 0; }
  bool idle() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return waiting_ && !lost_ && !woken_ && Allowed() == 0;
  }

 private:
  size_t Allowed() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return tier_.held_ ? std::min(allowance_, pending_.size()) : pending_.size();
  }

  Changes TakeAllowed() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    Changes changes;
    const size_t count = Allowed();
    if (tier_.held_) allowance_ -= count;
    for (size_t i = 0; i < count; ++i) {
      std::optional<std::string> key = std::move(pending_.front());
      pending_.pop_front();
      if (!key) {
        changes.all = true;
      } else if (std::ranges::find(changes.keys, *key) == changes.keys.end()) {
        changes.keys.push_back(*std::move(key));
      }
    }
    return changes;
  }

  ModelTier& tier_;
  const std::string incarnation_;
  std::deque<std::optional<std::string>> pending_;
  size_t allowance_ = 0;
  bool lost_ = false;
  bool woken_ = false;
  bool waiting_ = false;
};

// --- ModelTier: its troubles

ModelTier::ModelTier(ModelServer* server) : server_(*server) {
  const MutexLock lock(&server_.mutex_);
  server_.tiers_.push_back(this);
}

ModelTier::~ModelTier() {
  const MutexLock lock(&server_.mutex_);
  std::erase(server_.tiers_, this);
}

void ModelTier::SetReach(Reach reach) {
  const MutexLock lock(&server_.mutex_);
  reach_ = reach;
  server_.changed_.NotifyAll();
}

void ModelTier::SetGate(Gate gate) {
  const MutexLock lock(&server_.mutex_);
  gate_ = std::move(gate);
}

void ModelTier::LoseSubscriptions() {
  const MutexLock lock(&server_.mutex_);
  LoseLocked();
}

void ModelTier::TellLocked(const std::optional<std::string>& key) {
  for (Listener* listener : listeners_) listener->Tell(key);
  server_.changed_.NotifyAll();
}

void ModelTier::LoseLocked() {
  for (Listener* listener : listeners_) listener->Lose();
  server_.changed_.NotifyAll();
}

void ModelTier::CutOff() {
  SetReach(Reach::kUnreachable);
  LoseSubscriptions();
}

void ModelTier::HoldChanges() {
  const MutexLock lock(&server_.mutex_);
  held_ = true;
}

void ModelTier::TellHeld(size_t changes) {
  const MutexLock lock(&server_.mutex_);
  for (Listener* listener : listeners_) listener->Allow(changes);
  server_.changed_.NotifyAll();
}

void ModelTier::ReleaseChanges() {
  const MutexLock lock(&server_.mutex_);
  held_ = false;
  for (Listener* listener : listeners_) listener->StopAllowing();
  server_.changed_.NotifyAll();
}

size_t ModelTier::calls(ModelCall call) const {
  const MutexLock lock(&server_.mutex_);
  return calls_[static_cast<size_t>(call)];
}

size_t ModelTier::calls() const {
  const MutexLock lock(&server_.mutex_);
  size_t sum = 0;
  for (const size_t count : calls_) sum += count;
  return sum;
}

size_t ModelTier::subscriptions() const {
  const MutexLock lock(&server_.mutex_);
  return listeners_.size();
}

bool ModelTier::Idle() const {
  const MutexLock lock(&server_.mutex_);
  return !listeners_.empty() &&
         std::ranges::all_of(listeners_, [](const Listener* listener) { return listener->idle(); });
}

// --- ModelTier: calls

absl::Status ModelTier::Pass(ModelCall call, std::string_view key, absl::Duration timeout) {
  Gate gate;
  {
    const MutexLock lock(&server_.mutex_);
    ++calls_[static_cast<size_t>(call)];
    gate = gate_;
  }
  if (timeout <= absl::ZeroDuration()) return absl::DeadlineExceededError("no time to call");
  return gate ? gate(call, key) : absl::OkStatus();
}

template <class Body>
auto ModelTier::Call(ModelCall call, std::string_view key, absl::Duration timeout, Body body)
    -> decltype(body()) {
  const Deadline deadline = Deadline::After(timeout);
  if (absl::Status status = Pass(call, key, timeout); !status.ok()) return status;
  const MutexLock lock(&server_.mutex_);
  while (reach_ == Reach::kHanging) {
    if (deadline.Passed()) return absl::DeadlineExceededError("the server doesn't answer");
    server_.changed_.WaitFor(&server_.mutex_, deadline.Remaining());
  }
  if (reach_ == Reach::kUnreachable) return absl::UnavailableError("the server can't be reached");
  if (call != ModelCall::kSubscribe && !listeners_.empty() &&
      listeners_.back()->incarnation() != server_.IncarnationLocked()) {
    return absl::UnavailableError("the server isn't the one whose changes are heard of");
  }
  auto result = body();
  if (reach_ == Reach::kDeaf) return absl::DeadlineExceededError("the answer was lost");
  return result;
}

// Whether `ttl` is one; for all calls that set.
static absl::Status CheckTtl(absl::Duration ttl) {
  return ttl > absl::ZeroDuration() ? absl::OkStatus()
                                    : absl::InvalidArgumentError("ttl must be positive");
}

absl::StatusOr<std::optional<std::string>> ModelTier::Get(std::string_view key,
                                                          absl::Duration timeout) {
  using Result = absl::StatusOr<std::optional<std::string>>;
  return Call(ModelCall::kGet, key, timeout, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS -> Result {
    const ModelServer::Value* value = server_.FindLocked(key);
    if (value == nullptr) return std::nullopt;
    return value->bytes;
  });
}

absl::Status ModelTier::Set(std::string_view key, std::string_view value, absl::Duration ttl,
                            absl::Duration timeout) {
  if (absl::Status status = CheckTtl(ttl); !status.ok()) return status;
  return Call(ModelCall::kSet, key, timeout, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    server_.SetLocked(key, value, ttl);
    return absl::OkStatus();
  });
}

absl::StatusOr<bool> ModelTier::Erase(std::string_view key, absl::Duration timeout) {
  using Result = absl::StatusOr<bool>;
  return Call(ModelCall::kErase, key, timeout,
              [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS -> Result { return server_.EraseLocked(key); });
}

absl::StatusOr<std::vector<std::optional<std::string>>> ModelTier::GetHeads(
    absl::Span<const std::string_view> keys, size_t bytes, absl::Duration timeout) {
  using Heads = std::vector<std::optional<std::string>>;
  const std::string_view first = keys.empty() ? std::string_view() : keys[0];
  return Call(ModelCall::kGetHeads, first, timeout,
              [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS -> absl::StatusOr<Heads> {
                Heads heads;
                for (const std::string_view key : keys) {
                  const ModelServer::Value* value = server_.FindLocked(key);
                  heads.push_back(value == nullptr ? std::nullopt
                                                   : std::optional(value->bytes.substr(0, bytes)));
                }
                return heads;
              });
}

absl::StatusOr<absl::Duration> ModelTier::TimeToLive(std::string_view key, absl::Duration timeout) {
  using Result = absl::StatusOr<absl::Duration>;
  return Call(ModelCall::kTimeToLive, key, timeout, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS -> Result {
    const ModelServer::Value* value = server_.FindLocked(key);
    return value == nullptr ? absl::ZeroDuration() : value->expires_at - server_.now_;
  });
}

absl::Time ModelTier::Now() const { return server_.Now(); }

absl::StatusOr<bool> ModelTier::SetIfAbsent(std::string_view key, std::string_view value,
                                            absl::Duration ttl, absl::Duration timeout) {
  using Result = absl::StatusOr<bool>;
  if (absl::Status status = CheckTtl(ttl); !status.ok()) return status;
  return Call(ModelCall::kSetIfAbsent, key, timeout,
              [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS -> Result {
                if (server_.FindLocked(key) != nullptr) return false;
                server_.SetLocked(key, value, ttl);
                return true;
              });
}

absl::StatusOr<bool> ModelTier::SetIfHead(std::string_view key, std::string_view head,
                                          std::string_view value, absl::Duration ttl,
                                          absl::Duration timeout) {
  using Result = absl::StatusOr<bool>;
  if (absl::Status status = CheckTtl(ttl); !status.ok()) return status;
  return Call(ModelCall::kSetIfHead, key, timeout, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS -> Result {
    const ModelServer::Value* old = server_.FindLocked(key);
    if (old == nullptr || !old->bytes.starts_with(head)) return false;
    server_.SetLocked(key, value, ttl);
    return true;
  });
}

absl::StatusOr<bool> ModelTier::EraseIfHead(std::string_view key, std::string_view head,
                                            absl::Duration timeout) {
  using Result = absl::StatusOr<bool>;
  return Call(ModelCall::kEraseIfHead, key, timeout,
              [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS -> Result {
                const ModelServer::Value* old = server_.FindLocked(key);
                return old != nullptr && old->bytes.starts_with(head) && server_.EraseLocked(key);
              });
}

absl::StatusOr<std::optional<std::string>> ModelTier::Exchange(std::string_view key,
                                                               std::string_view value,
                                                               absl::Duration ttl,
                                                               size_t head_bytes,
                                                               absl::Duration timeout) {
  using Result = absl::StatusOr<std::optional<std::string>>;
  if (absl::Status status = CheckTtl(ttl); !status.ok()) return status;
  return Call(ModelCall::kExchange, key, timeout, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS -> Result {
    const ModelServer::Value* old = server_.FindLocked(key);
    std::optional<std::string> head;
    if (old != nullptr) head = old->bytes.substr(0, head_bytes);
    server_.SetLocked(key, value, ttl);
    return head;
  });
}

absl::Status ModelTier::Invalidate(absl::Span<const std::string_view> keys,
                                   absl::Duration timeout) {
  const std::string_view first = keys.empty() ? std::string_view() : keys[0];
  return Call(ModelCall::kInvalidate, first, timeout, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    for (const std::string_view key : keys) {
      if (!server_.EraseLocked(key)) server_.TellAll(std::string(key));
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<std::unique_ptr<SharedTier::Subscription>> ModelTier::Subscribe(
    absl::Duration timeout) {
  using Result = absl::StatusOr<std::unique_ptr<Subscription>>;
  return Call(ModelCall::kSubscribe, {}, timeout, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS -> Result {
    // What can't hear the answer isn't subscribed.
    if (reach_ == Reach::kDeaf) return std::unique_ptr<Subscription>();
    auto listener = std::make_unique<Listener>(this, server_.IncarnationLocked());
    listeners_.push_back(listener.get());
    return std::unique_ptr<Subscription>(std::move(listener));
  });
}

absl::Status ModelTier::Ping(absl::Duration timeout) {
  return Call(ModelCall::kPing, {}, timeout, [] { return absl::OkStatus(); });
}

}  // namespace larder::test
