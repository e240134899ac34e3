// SPDX-License-Identifier: Apache-2.0
//
// LoadWorld's steps that change what a key has.
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "tests/support/load_world.h"

namespace larder::test {

void LoadWorld::PutSomething(bool only_if_absent) {
  const std::string key = DrawKey();
  const PutOptions options = DrawPutOptions();
  const uint64_t value = ++last_value_;
  if (!only_if_absent) {
    Trace("put ", key, " ", value, " ", absl::StrJoin(options.tags, ","));
    if (!cache_->Put(key, value, options).ok()) Broken("a put failed");
    return model_->Put(key, value, options);
  }
  Trace("put ", key, " ", value, " if absent");
  const bool stored = cache_->PutIfAbsent(key, value, options);
  if (stored != model_->PutIfAbsent(key, value, options)) Broken("PutIfAbsent said ", stored);
}

void LoadWorld::ComputeSomething() {
  const std::string key = DrawKey();
  std::optional<uint64_t> result;
  if (!OneIn(3)) result = ++last_value_;
  Trace("compute ", key, " ", result.value_or(0));
  const std::optional<uint64_t> expected = model_->Get(key);
  const absl::Status status = cache_->Compute(key, [&](std::optional<uint64_t> old) {
    if (old != expected) Broken("Compute found ", old.value_or(0));
    return result;
  });
  if (!status.ok()) Broken("Compute failed");
  if (result.has_value()) {
    model_->Put(key, *result, {});
  } else {
    model_->Erase(key);
  }
}

void LoadWorld::Invalidate(uint64_t kind) {
  const std::string key = DrawKey();
  switch (kind) {
    case 0: {
      Trace("erase ", key);
      const bool erased = cache_->Erase(key);
      if (erased != model_->Erase(key)) Broken("Erase said ", erased);
      return;
    }
    case 1:
    case 2: {
      Trace("expire ", key);
      const bool expired = cache_->Expire(key);
      if (expired != model_->Expire(key)) Broken("Expire said ", expired);
      return;
    }
    case 3: {
      const std::string tag = DrawTag();
      Trace("invalidate tag ", tag);
      cache_->InvalidateTag(tag);
      return model_->InvalidateTag(tag);
    }
    case 4: {
      const std::string prefix = OneIn(2) ? "a:" : "b:";
      Trace("invalidate prefix ", prefix);
      cache_->InvalidatePrefix(prefix);
      return model_->InvalidatePrefix(prefix);
    }
    case 5: {
      const absl::Duration delay = DrawTime();
      Trace("invalidate ", key, " after ", absl::FormatDuration(delay));
      if (!cache_->InvalidateAfter(key, delay).ok()) Broken("InvalidateAfter failed");
      return model_->InvalidateAfter(key, delay);
    }
    case 6:
    case 9:
    case 10: {
      const auto odd = [](const std::string&, uint64_t value) { return value % 2 == 1; };
      Trace("erase odd values");
      cache_->EraseIf(odd);
      return model_->EraseIf(odd);
    }
    case 7:
      if (!OneIn(3)) return ComputeSomething();
      Trace("clear");
      cache_->Clear();
      return model_->Clear();
    default:
      return ComputeSomething();
  }
}

}  // namespace larder::test
