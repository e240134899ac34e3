// SPDX-License-Identifier: Apache-2.0
//
// RefreshesEarly, EarliestRefresh: XFetch, a lottery for who reloads an entry before it expires.

#ifndef LARDER_INTERNAL_EARLY_REFRESH_H_
#define LARDER_INTERNAL_EARLY_REFRESH_H_

#include <cstdint>

namespace larder::internal {

// A. Vattani, F. Chierichetti, K. Lowenstein, "Optimal Probabilistic Cache Stampede Prevention",
// VLDB 2015. Each access to an entry, on whichever server, decides by itself and at random whether
// to reload it now, so that a few do before it expires, one after the other, rather than all
// together when it does. An access does so with probability exp(-left / (load_time * beta)), `left`
// being the time to the expiry: the longer a load takes, the earlier. That distribution is the best
// there is, and beta = 1 the paper's choice; more than 1 reloads earlier.
//
// Times and durations are in ns; time may be negative. Nothing overflows: what would be before the
// beginning of time is at it. beta <= 0, NaN, or a load_time <= 0: no access reloads before the
// expiry.

// Whether an access at `now` with these 64 random bits reloads. From the expiry on, always; where
// the expiry is kNever, never. One logarithm, unless that is clear without.
bool RefreshesEarly(int64_t now, int64_t expiry, int64_t load_time, double beta, uint64_t random);

// Before this time RefreshesEarly is false, whatever the bits: no look is needed. It takes the
// random number, of 53 bits, to be at its least, so it is 36.74 * load_time * beta before the
// expiry, rounded down. kNever if the expiry is.
int64_t EarliestRefresh(int64_t expiry, int64_t load_time, double beta);

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_EARLY_REFRESH_H_
