// SPDX-License-Identifier: Apache-2.0
//
// What RemoteCache does where it is told of changes; on the thread of RemoteSync.

#include <utility>

#include "larder/internal/remote_cache.h"
#include "larder/internal/remote_counters.h"

namespace larder::internal {
namespace {

// So that no call is so large that it takes long.
constexpr size_t kKeysPerCheck = 256;

}  // namespace

void RemoteCache::OnChanges(absl::Span<const std::string> keys) {
  std::vector<std::string_view> to_check;
  for (const std::string& key : keys) {
    const auto tag = TagOfKey(key);
    const bool is_foreign = own_.Told(key) == OwnChanges::Answer::kForeign;
    // What is known of it is out of date, whoever changed it.
    if (tag.has_value()) tags_.Forget(*tag);
    if (is_foreign) {
      ChangedByOthers(key);
    } else {
      to_check.push_back(key);
    }
  }
  for (size_t i = 0; i < to_check.size(); i += kKeysPerCheck) {
    CheckOwn(absl::MakeConstSpan(to_check).subspan(i, kKeysPerCheck));
  }
}

// Whether what is there now was put there by this server. A pending operation's key is checked,
// too: memory may have, and return, an older value of it until that ends.
void RemoteCache::CheckOwn(absl::Span<const std::string_view> keys) {
  absl::StatusOr<std::vector<std::optional<std::string>>> heads = absl::CancelledError();
  if (sync_.MayCall()) {
    heads = tier_.GetHeads(keys, kHeadBytes, options_.timeout);
    Succeeded(heads.status());
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto head =
        heads.ok() && (*heads)[i].has_value() ? ParseHead(*(*heads)[i]) : std::nullopt;
    if (head.has_value() && own_.IsOwn(keys[i], *head)) {
      Counters::Add(counters_->own_changes);
    } else {
      ChangedByOthers(keys[i]);
    }
  }
}

void RemoteCache::ChangedByOthers(std::string_view key) {
  if (const auto tag = TagOfKey(key); tag.has_value()) {
    memory_.DropTag(*tag);
  } else {
    DropForeign(key);
  }
}

void RemoteCache::DropForeign(std::string_view key) {
  foreign_.Add(key);
  memory_.Drop(key);
}

void RemoteCache::Forget(bool expires) {
  foreign_.AddAll();
  tags_.ForgetAll();
  expires ? memory_.ExpireAll() : memory_.DropAll();
}

void RemoteCache::InvalidatePrefix(std::string_view prefix) { memory_.DropPrefix(prefix); }

}  // namespace larder::internal
