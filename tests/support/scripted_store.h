// SPDX-License-Identifier: Apache-2.0
//
// ScriptedStore: a store in memory that a test can watch, interrupt and let fail.

#ifndef LARDER_TESTS_SUPPORT_SCRIPTED_STORE_H_
#define LARDER_TESTS_SUPPORT_SCRIPTED_STORE_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/internal/mutex.h"
#include "larder/store.h"
#include "larder/write_id.h"

namespace larder::test {

// Thread safety: all methods may be called from any thread, also from inside a script.
class ScriptedStore : public Store<std::string, std::string> {
 public:
  enum class Call { kLoad, kWrite, kErase };

  struct Written {
    std::string key;
    std::optional<std::string> value;
    WriteId id;
  };

  // Called at the beginning of each call, under no lock; an error is the call's result.
  using Script = std::function<absl::Status(Call, const std::string& key)>;
  void set_script(Script script) {
    auto shared = std::make_shared<const Script>(std::move(script));
    internal::MutexLock lock(&mutex_);
    script_.swap(shared);
  }

  absl::StatusOr<std::string> Load(const std::string& key) override {
    if (absl::Status status = Begin(Call::kLoad, key); !status.ok()) return status;
    internal::MutexLock lock(&mutex_);
    ++loads_;
    const auto found = rows_.find(key);
    if (found == rows_.end()) return absl::NotFoundError(key);
    return found->second;
  }

  absl::Status Write(const std::string& key, const std::string& value, const WriteId& id) override {
    if (absl::Status status = Begin(Call::kWrite, key); !status.ok()) return status;
    internal::MutexLock lock(&mutex_);
    writes_.push_back({.key = key, .value = value, .id = id});
    rows_[key] = value;
    return absl::OkStatus();
  }

  absl::Status Erase(const std::string& key, const WriteId& id) override {
    if (absl::Status status = Begin(Call::kErase, key); !status.ok()) return status;
    internal::MutexLock lock(&mutex_);
    writes_.push_back({.key = key, .value = std::nullopt, .id = id});
    return rows_.erase(key) == 1 ? absl::OkStatus() : absl::NotFoundError(key);
  }

  // What a key has, without a call.
  std::optional<std::string> Row(const std::string& key) const {
    internal::MutexLock lock(&mutex_);
    const auto found = rows_.find(key);
    return found == rows_.end() ? std::nullopt : std::optional(found->second);
  }
  void SetRow(const std::string& key, std::string value) {
    internal::MutexLock lock(&mutex_);
    rows_[key] = std::move(value);
  }

  int loads() const {
    internal::MutexLock lock(&mutex_);
    return loads_;
  }
  // Those that took place, in order.
  std::vector<Written> writes() const {
    internal::MutexLock lock(&mutex_);
    return writes_;
  }

 private:
  absl::Status Begin(Call call, const std::string& key) {
    std::shared_ptr<const Script> script;
    {
      internal::MutexLock lock(&mutex_);
      script = script_;
    }
    return *script ? (*script)(call, key) : absl::OkStatus();
  }

  mutable internal::Mutex mutex_;
  std::shared_ptr<const Script> script_ ABSL_GUARDED_BY(mutex_) = std::make_shared<const Script>();
  std::map<std::string, std::string> rows_ ABSL_GUARDED_BY(mutex_);
  std::vector<Written> writes_ ABSL_GUARDED_BY(mutex_);
  int loads_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_SCRIPTED_STORE_H_
