// SPDX-License-Identifier: Apache-2.0
//
// WorldCache: the seam between LoadWorld and the cache that it tries.
#ifndef LARDER_TESTS_SUPPORT_WORLD_CACHE_H_
#define LARDER_TESTS_SUPPORT_WORLD_CACHE_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/cache.h"

namespace larder::test {

// Hands everything on to a cache. Bugs are planted in classes derived from it.
class WorldCache {
 public:
  using Inner = Cache<std::string, uint64_t>;
  using Result = absl::StatusOr<LoadResult<uint64_t>>;
  using Loader = absl::AnyInvocable<absl::StatusOr<Loaded<uint64_t>>(const std::string&,
                                                                     LoadContext<uint64_t>&)>;
  using AsyncLoader = absl::AnyInvocable<void(const std::string&, AsyncLoad<uint64_t>)>;
  using Callback = absl::AnyInvocable<void(Result)>;

  explicit WorldCache(const Inner::Options& options) : cache_(Inner::Create(options).value()) {}
  virtual ~WorldCache() = default;
  WorldCache(const WorldCache&) = delete;
  WorldCache& operator=(const WorldCache&) = delete;

  virtual void Load(const std::string& key, Loader loader, Callback callback,
                    const LoadOptions& options) {
    cache_->GetOrLoadAsync(key, std::move(loader), std::move(callback), options);
  }
  virtual void LoadLater(const std::string& key, AsyncLoader loader, Callback callback,
                         const LoadOptions& options) {
    cache_->GetOrLoadAsync(key, std::move(loader), std::move(callback), options);
  }
  virtual std::optional<uint64_t> Get(const std::string& key) { return cache_->Get(key); }
  virtual bool Contains(const std::string& key) { return cache_->Contains(key); }
  virtual absl::Status Put(const std::string& key, uint64_t value, const PutOptions& options) {
    return cache_->Put(key, value, options);
  }
  virtual bool PutIfAbsent(const std::string& key, uint64_t value, const PutOptions& options) {
    return cache_->PutIfAbsent(key, value, options);
  }
  virtual absl::Status Compute(
      const std::string& key,
      const std::function<std::optional<uint64_t>(std::optional<uint64_t>)>& f) {
    return cache_->Compute(key, f);
  }
  virtual bool Erase(const std::string& key) { return cache_->Erase(key); }
  virtual bool Expire(const std::string& key) { return cache_->Expire(key); }
  virtual void EraseIf(const std::function<bool(const std::string&, uint64_t)>& pred) {
    cache_->EraseIf(pred);
  }
  virtual void Clear() { cache_->Clear(); }
  virtual void InvalidateTag(const std::string& tag) { cache_->InvalidateTag(tag); }
  virtual void InvalidatePrefix(const std::string& prefix) { cache_->InvalidatePrefix(prefix); }
  virtual absl::Status InvalidateAfter(const std::string& key, absl::Duration delay) {
    return cache_->InvalidateAfter(key, delay);
  }
  virtual void RunMaintenance() {
    while (cache_->RunMaintenance(1000) != 0) {
    }
  }
  virtual CacheStats Stats() { return cache_->Stats(); }
  virtual absl::Status CheckInvariants() { return cache_->CheckInvariants(); }

 protected:
  Inner& inner() { return *cache_; }

 private:
  const std::unique_ptr<Inner> cache_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_WORLD_CACHE_H_
