// SPDX-License-Identifier: Apache-2.0
//
// RemoteOptions: how a TieredCache uses a tier that it shares with other servers.

#ifndef LARDER_REMOTE_OPTIONS_H_
#define LARDER_REMOTE_OPTIONS_H_

#include <cstddef>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "larder/shared_tier.h"

namespace larder {

// What becomes of a server's own memory when it no longer hears of the changes that others make.
enum class WhenCutOff {
  kKeep,   // what is there may be returned for RemoteOptions::unverified_ttl
  kFlush,  // it is emptied at once
};

struct RemoteOptions {
  // The tier; nullptr: none. Must outlive the cache, and all loads that are abandoned. A tier (and
  // its key prefix) is for one TieredCache in each process, with the same K, V and Codecs in all.
  SharedTier* tier = nullptr;

  // How long an entry stays in the tier, where Loaded or PutOptions don't say less. > 0. In memory
  // it stays for CacheOptions::ttl, and no longer than in the tier.
  absl::Duration ttl = absl::Hours(1);

  // How long NotFound stays in the tier. >= 0; 0: it isn't put there.
  absl::Duration negative_ttl = absl::ZeroDuration();

  // How long past its ttl an entry stays in the tier, to be returned where the store fails. >= 0
  absl::Duration stale_if_error = absl::ZeroDuration();
  // How long such an entry is kept in memory, before the store is asked again. > 0
  absl::Duration retry_after = absl::Seconds(1);

  // The longest that a read or a write of the cache waits for the tier, in all of its calls, which
  // are up to four: several times what the network's round trip usually takes. > 0
  absl::Duration timeout = absl::Milliseconds(50);

  // Where another server is loading a key: wait up to this for its result, before loading it, too.
  // >= 0; 0: don't wait. Not for GetAll.
  absl::Duration wait_for_other_loads = absl::ZeroDuration();
  // The longest that a load may take for its value to be put into the tier. > 0
  absl::Duration load_lease = absl::Seconds(30);
  // The longest that a write of the store is expected to take: until then others don't put the key
  // into the tier. > 0. Nothing breaks where it takes longer.
  absl::Duration write_lease = absl::Seconds(30);

  // Values that don't begin like larder's own were written by other programs: take them for values
  // that Codec<V> can decode, rather than for rubbish. They stay in memory for CacheOptions::ttl at
  // most. An entry that larder writes has an envelope all the same.
  bool accept_plain = false;

  // --- While the tier is away

  WhenCutOff when_cut_off = WhenCutOff::kKeep;
  // How long an entry may be returned from memory while changes aren't heard of: what was there
  // before, and what was loaded since. > 0
  absl::Duration unverified_ttl = absl::Seconds(1);

  // Calls that fail one after the other until no more are tried. >= 1
  int failures_to_open = 5;
  // After that, and while there is no connection, the tier is probed in the background, after a
  // time that doubles from the first to the second of these, less a random part of up to a half. >
  // 0
  absl::Duration first_probe = absl::Milliseconds(50);
  absl::Duration last_probe = absl::Seconds(1);
  // How long the tier must have been back before what it had kept is used again: every server must
  // have had the time to come back, too, and to remove what was written meanwhile. >= 0; at least
  // last_probe + 2 * timeout if it is to be relied on.
  absl::Duration settle_time = absl::Seconds(2);

  // Keys written while the tier was away that are remembered, to be removed there when it is back.
  // >= 0. Past that everything in the tier is disregarded then.
  size_t max_missed_keys = 100'000;

  // OK, or InvalidArgument that names the field and its value.
  absl::Status Validate() const;
};

}  // namespace larder

#endif  // LARDER_REMOTE_OPTIONS_H_
