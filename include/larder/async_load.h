// SPDX-License-Identifier: Apache-2.0
//
// AsyncLoad: a load that is finished later, by whoever has its value.

#ifndef LARDER_ASYNC_LOAD_H_
#define LARDER_ASYNC_LOAD_H_

#include <memory>
#include <optional>
#include <stop_token>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/load_context.h"
#include "larder/loaded.h"

namespace larder {

namespace internal {

// The cache's side of an AsyncLoad.
template <class V>
class AsyncLoadTarget {
 public:
  virtual ~AsyncLoadTarget() = default;
  virtual LoadContext<V>& context() = 0;
  // Called at most once. A target that goes without it has failed.
  virtual void Finish(absl::StatusOr<Loaded<V>> result) noexcept = 0;
};

}  // namespace internal

// The right, and the duty, to finish one load. An asynchronous loader is called with one:
//
//   cache->GetOrLoadAsync(id, [&](const std::string& id, larder::AsyncLoad<User> load) {
//     database.FindAsync(id, [load = std::move(load)](absl::StatusOr<User> user) mutable {
//       load.Finish(std::move(user));
//     });
//   }, [](absl::StatusOr<User> user) { ... });
//
// Dropped without Finish, the load fails with Cancelled: no flight is left behind. May be kept past
// the cache's end where that doesn't wait for it (LoadsAtClose::kAbandon).
//
// Thread safety: as for any value; may be moved to, finished and dropped in any thread.
template <class V>
class AsyncLoad {
 public:
  explicit AsyncLoad(std::unique_ptr<internal::AsyncLoadTarget<V>> target)
      : target_(std::move(target)) {}
  AsyncLoad(AsyncLoad&&) noexcept = default;
  AsyncLoad& operator=(AsyncLoad&&) noexcept = default;

  // As for LoadContext. Require: neither finished nor moved from.
  const V* old_value() const { return target_->context().old_value(); }
  const std::stop_token& stop_token() const { return target_->context().stop_token(); }

  // The old value is still right.
  void FinishNotModified(std::optional<absl::Duration> ttl = std::nullopt) {
    if (target_ != nullptr) Finish(target_->context().NotModified(ttl));
  }

  // Ends the load with a V, a Loaded<V>, an error, or an absl::StatusOr. Stores the value on this
  // thread; callers that wait are woken, callbacks are called on the executor. Only the first call
  // counts.
  template <class R>
  void Finish(R&& result) {
    if (target_ == nullptr) return;
    const std::unique_ptr<internal::AsyncLoadTarget<V>> target = std::move(target_);
    target->Finish(internal::ToLoaded<V>(std::forward<R>(result)));
  }

 private:
  std::unique_ptr<internal::AsyncLoadTarget<V>> target_;
};

}  // namespace larder

#endif  // LARDER_ASYNC_LOAD_H_
