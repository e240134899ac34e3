// SPDX-License-Identifier: Apache-2.0
//
// NewEntry: what is known of an entry, but for its key and value, before it is stored.

#ifndef LARDER_INTERNAL_NEW_ENTRY_H_
#define LARDER_INTERNAL_NEW_ENTRY_H_

#include <cstdint>

#include "larder/internal/hash.h"
#include "larder/internal/node.h"
#include "larder/internal/tags.h"
#include "larder/refresh_after.h"

namespace larder::internal {

// When an entry ends, in ns on the cache's clock; see NodeExtra.
struct Lifetime {
  int64_t deadline = kNever;
  int64_t hard_deadline = kNever;
  int64_t idle_ttl = kNever;
};

// In place of the value of a key that wasn't found.
struct NoValue {};

// What an entry's terms are made from.
struct TermsRequest {
  RefreshAfter refresh_after = RefreshAfter::Never();
  int64_t stale_window = 0;  // ns
  double early_refresh = 0;  // XFetch's beta
  int64_t load_nanos = 0;    // how long the load took
  uint64_t stamp = 0;        // the generation of tags that the value is from
  bool negative = false;
};

// What an entry's NodeTerms start with. Times in ns on the cache's clock.
struct EntryTerms {
  TagSetHold tags;  // until a node takes them
  int64_t expires_at = kNever;
  int64_t kept_for = 0;
  int64_t refresh_at = kNever;
  int64_t written_at = 0;
  uint64_t validated = 0;
  uint32_t load_micros = 0;
  bool negative = false;
};

struct NewEntry {
  HashBits hash;
  uint64_t weight;
  Lifetime lifetime;
  bool outdates_flight = true;  // a load in progress for the key must not be stored over it
  bool needs_live_old = false;  // what it replaces, if anything, must not have expired by then
  EntryTerms* terms = nullptr;  // most have none
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_NEW_ENTRY_H_
