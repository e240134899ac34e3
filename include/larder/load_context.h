// SPDX-License-Identifier: Apache-2.0
//
// LoadContext: what a loader may know of the load that it is called for, and tell it.

#ifndef LARDER_LOAD_CONTEXT_H_
#define LARDER_LOAD_CONTEXT_H_

#include <optional>
#include <stop_token>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace larder {

// Handed to loaders that take it as their second parameter:
//
//   cache->GetOrLoad(url, [&](const std::string& url, larder::LoadContext<Page>& context) {
//     Response response = http.Get(url, context.old_value() ? context.old_value()->etag : "");
//     if (response.code == 304) return absl::StatusOr<Page>(context.NotModified());
//     return MakePage(response);
//   });
//
// Not thread-safe, but for what stop_token() returns.
template <class V>
class LoadContext {
 public:
  // `old_value` must outlive the context.
  LoadContext(const V* old_value, std::stop_token stop_token)
      : old_value_(old_value), stop_token_(std::move(stop_token)) {}

  // The value that the load is to replace, where there is one that was neither invalidated nor
  // evicted: it is about to expire, or has expired and was kept. Else nullptr.
  const V* old_value() const { return old_value_; }

  // Stop is requested when nobody wants the value any more: a timeout has passed, or the cache is
  // being destroyed. The loader should then return soon, with whatever.
  const std::stop_token& stop_token() const { return stop_token_; }

  // To be returned by the loader: the old value is still right. Its time to live starts anew, as if
  // it had been loaded, and nothing is copied. `ttl`, > 0, goes before what the options say.
  // Without an old value the load fails with FailedPrecondition.
  absl::Status NotModified(std::optional<absl::Duration> ttl = std::nullopt) {
    if (old_value_ == nullptr) {
      return absl::FailedPreconditionError("a loader said NotModified, but there is no old value");
    }
    not_modified_ = true;
    ttl_ = ttl;
    return absl::CancelledError("not modified");
  }

  // Whether the loader has said so, and with which ttl.
  bool not_modified() const { return not_modified_; }
  const std::optional<absl::Duration>& ttl() const { return ttl_; }

 private:
  const V* const old_value_;
  const std::stop_token stop_token_;
  bool not_modified_ = false;
  std::optional<absl::Duration> ttl_;
};

}  // namespace larder

#endif  // LARDER_LOAD_CONTEXT_H_
