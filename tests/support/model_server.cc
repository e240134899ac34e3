// SPDX-License-Identifier: Apache-2.0

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/support/model_tier.h"

namespace larder::test {

using internal::MutexLock;

void ModelServer::Put(std::string_view key, std::string_view bytes, absl::Duration ttl) {
  const MutexLock lock(&mutex_);
  SetLocked(key, bytes, ttl);
}

bool ModelServer::Remove(std::string_view key) {
  const MutexLock lock(&mutex_);
  return EraseLocked(key);
}

std::optional<std::string> ModelServer::Peek(std::string_view key) const {
  const MutexLock lock(&mutex_);
  const Value* value = FindLocked(key);
  if (value == nullptr) return std::nullopt;
  return value->bytes;
}

ModelServer::Data ModelServer::Save() const {
  const MutexLock lock(&mutex_);
  return data_;
}

void ModelServer::Flush() {
  const MutexLock lock(&mutex_);
  data_.clear();
  TellAll(std::nullopt);
}

void ModelServer::Restart(Data data) {
  const MutexLock lock(&mutex_);
  data_ = std::move(data);
  ++run_;
  LoseAll();
}

std::string ModelServer::incarnation() const {
  const MutexLock lock(&mutex_);
  return IncarnationLocked();
}

std::string ModelServer::IncarnationLocked() const { return absl::StrCat("run ", run_); }

absl::Time ModelServer::Now() const {
  const MutexLock lock(&mutex_);
  return now_;
}

void ModelServer::Advance(absl::Duration step) {
  const MutexLock lock(&mutex_);
  now_ += step;
  for (auto it = data_.begin(); it != data_.end();) {
    if (it->second.expires_at > now_) {
      ++it;
      continue;
    }
    TellAll(it->first);
    it = data_.erase(it);
  }
}

// The tiers' parts of this are guarded by the same lock, under another name.
void ModelServer::TellAll(const std::optional<std::string>& key) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  for (ModelTier* tier : tiers_) tier->TellLocked(key);
}

void ModelServer::LoseAll() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  for (ModelTier* tier : tiers_) tier->LoseLocked();
}

void ModelServer::SetLocked(std::string_view key, std::string_view bytes, absl::Duration ttl) {
  data_[std::string(key)] = Value{std::string(bytes), now_ + ttl};
  TellAll(std::string(key));
}

bool ModelServer::EraseLocked(std::string_view key) {
  const auto it = data_.find(key);
  if (it == data_.end()) return false;
  data_.erase(it);
  TellAll(std::string(key));
  return true;
}

const ModelServer::Value* ModelServer::FindLocked(std::string_view key) const {
  const auto it = data_.find(key);
  return it == data_.end() ? nullptr : &it->second;
}

}  // namespace larder::test
