// SPDX-License-Identifier: Apache-2.0
//
// Snapshots: a cache's entries in a file, so that the next process needn't start with none.

#ifndef LARDER_SNAPSHOT_H_
#define LARDER_SNAPSHOT_H_

#include "larder/cache.h"
#include "larder/codec.h"
#include "larder/internal/core_snapshot.h"
#include "larder/snapshot_options.h"
#include "larder/snapshot_timer.h"

// What Cache::SaveSnapshot and Cache::LoadSnapshot do. Keys and values need a Codec (codec.h).
//
//   auto loaded = users->LoadSnapshot("/var/cache/app/users.snapshot");
//   if (!loaded.ok()) LOG(INFO) << "starting cold: " << loaded.status();
//   larder::SnapshotTimer timer(absl::Minutes(5), [&] {
//     return users->SaveSnapshot("/var/cache/app/users.snapshot");
//   });
//
// A snapshot is as old as it is: what was changed after it was saved, also by an Erase or an
// InvalidateTag, comes back as it was, until its time to live is over. It is for caches whose
// entries may be that stale.
//
// SaveSnapshot(path, options, wanted) const
//   Writes what entries hold (key, value, what is left of their times to live, weight, tags, when
//   they are to be refreshed) and where they stand in the order of eviction. Weakly consistent, as
//   ForEach: sees each entry that is there throughout, once, whole; may or may not see others.
//   Entries that have expired, and keys that weren't found, aren't saved; nor is what the policy
//   remembers of keys that aren't there. Changes nothing in the cache: not recency, not statistics.
//
//   The file is written beside `path`, synced, and put in its place in one step: whoever reads
//   `path` at any time, after a crash too, finds a whole snapshot, the older or the newer one. On
//   error the older one stays (the newer one, where only the directory couldn't be synced), and
//   nothing else is left: errors are those of the file system, those of a Codec that can't encode
//   something, and ResourceExhausted for a key or a value of more than 512 MiB.
//   Two saves to one path at once are fine if one process makes them; the later one to end stays.
//
//   No lock is held while anything is weighed, encoded or written; the entries of one stripe at a
//   time are pinned for that. Each stripe's lock is taken for tens of microseconds at a time, under
//   Lru not at all. O(entries); memory: about 32 bytes for each entry of a stripe, and 1 MiB.
//
// LoadSnapshot(path, options, wanted)
//   Puts in what a snapshot holds, if and only if all of it is intact, of these types of keys and
//   values (Codec::Schema), and can be decoded. Otherwise the cache is unchanged, and the error
//   says why: NotFound where there is no file, DataLoss where anything in it is damaged or missing,
//   Unimplemented for a version of the format that is newer than this library, FailedPrecondition
//   for other types, or whatever the Codec said. ResourceExhausted where memory is out: then some
//   of it may be loaded.
//
//   What the cache holds already goes before what is in the snapshot, and nothing is evicted for
//   it: where there isn't room for all, the entries that would have been evicted first are left
//   out. Those loaded stand in the order of eviction as they did when they were saved. With Lru
//   that order is exact; with the others it is exact for a cache of one stripe that is used by one
//   thread, but for what they remember of keys that aren't there. A snapshot may be loaded under
//   another policy; then that starts from this order.
//
//   Each entry has what was left of its times to live when it was saved, less the time since then
//   by the wall clock; one that went backwards, as if no time had passed. There is no jitter on
//   top. Time to live, idle_ttl, weight, tags and stale windows are those that the entry had; a
//   cache's options apply to what they say nothing of: an entry that had the weight that its
//   weigher gave is weighed again by this one's.
//
//   May run while the cache is used, but then a key that is erased or invalidated meanwhile may get
//   its entry from the snapshot afterwards: load before others know the cache. `wanted` and the
//   weigher are called under no lock. Reads the whole file into memory. O(n log n).
//
// Thread safety: any thread, at any time. What a Codec, a weigher or `wanted` throws reaches the
// caller; a save has then left nothing, a load has changed nothing unless it came from `wanted` or
// from a Codec that decoded the same bytes before.

#endif  // LARDER_SNAPSHOT_H_
