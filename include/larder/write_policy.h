// SPDX-License-Identifier: Apache-2.0
//
// WritePolicy: which of a store and its cache a write reaches first.

#ifndef LARDER_WRITE_POLICY_H_
#define LARDER_WRITE_POLICY_H_

namespace larder {

enum class WritePolicy {
  // The store, then the cache's copy is erased. For what is seldom read after it was written.
  kAround,
  // The store, then the cache.
  kThrough,
  // The cache and a queue; the store soon, in the background, in batches. See WriteBehindOptions.
  kBehind,
};

}  // namespace larder

#endif  // LARDER_WRITE_POLICY_H_
