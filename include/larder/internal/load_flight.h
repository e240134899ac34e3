// SPDX-License-Identifier: Apache-2.0
//
// Flight: one load of one key, with what it is for and what came of it.

#ifndef LARDER_INTERNAL_LOAD_FLIGHT_H_
#define LARDER_INTERNAL_LOAD_FLIGHT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <stop_token>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "larder/handle.h"
#include "larder/internal/circuit_breaker.h"
#include "larder/internal/flight.h"
#include "larder/internal/flight_alarm.h"
#include "larder/internal/hash.h"
#include "larder/internal/load_settings.h"
#include "larder/internal/tags.h"
#include "larder/loaded.h"
#include "larder/options.h"

namespace larder::internal {

// Shared by whoever runs, waits for and ends the load. See LoadingCore for what becomes of it.
template <class K, class V>
struct Flight : FlightBase {
  Flight(K flight_key, HashBits key_hash, const LoadOptions& load_options,
         const LoadSettings& load_settings, bool age, bool from_loader, uint64_t tags_generation)
      : key(std::move(flight_key)),
        hash(key_hash),
        options(load_options),
        settings(load_settings),
        keeps_age(age),
        in_loader(from_loader),
        stamp(tags_generation) {}

  // `threw` with what it was, if there is memory for that.
  absl::Status Threw(const char* what) const noexcept {
    try {
      return absl::InternalError(absl::StrCat(threw.message(), ": ", what));
    } catch (const std::bad_alloc&) {
      return threw;
    }
  }

  const K key;
  const HashBits hash;
  const LoadOptions options;  // of the call that asked for it
  const LoadSettings settings;
  const bool keeps_age;  // the entry is to say how old it is
  const bool in_loader;  // asked for from inside a loader, of any cache
  const uint64_t stamp;  // the tags' generation when it was asked for
  const absl::Status threw = absl::InternalError("the load threw an exception");

  // Set before anybody else sees the flight, then constant.
  Handle<K, V> old;         // what it is to replace, if that was kept
  bool refreshes = false;   // there was such a value
  bool background = false;  // nobody waited for it when it was asked for
  FlightAlarm alarm;
  // Its place in the limiter's queue, plus one; 0: none.
  std::atomic<uint64_t> queued{0};
  std::stop_source stop;

  // The circuit breaker's; given back by Report(), or, where the flight was ended while it was
  // being admitted, by Admit().
  HeldAdmission admission;

  // The outcome; written before Land(), constant afterwards. From the start, what those who wait
  // get if nothing else comes.
  absl::Status status = threw;
  Handle<K, V> value;  // where status is OK
  LoadedFrom from = LoadedFrom::kSource;
  // The tags and prefixes of what was loaded, stored or not.
  TagSetHold tags;

  // --- Under the stripe's lock.
  bool outdated = false;  // the key was written or removed since the load was asked for
  bool in_table = false;
  int waiters = 0;  // callers that wait for it and haven't given up
  std::shared_ptr<Flight> next;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_LOAD_FLIGHT_H_
