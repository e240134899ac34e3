// SPDX-License-Identifier: Apache-2.0
//
// The eviction policies: what may be named as Cache's Policy.

#ifndef LARDER_POLICY_H_
#define LARDER_POLICY_H_

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "larder/internal/lru.h"
#include "larder/internal/node.h"
#include "larder/internal/s3fifo.h"
#include "larder/internal/sieve.h"
#include "larder/internal/slab.h"
#include "larder/internal/thread_record.h"

namespace larder {

// Least recently used: evicts the entry whose last hit or write is longest ago. Exact per stripe
// where one thread uses the cache; with many, a hit may be recorded a little late.
struct Lru {
  using Implementation = internal::LruPolicy;
  static constexpr std::string_view kName = "Lru";
};

// SIEVE: a queue whose entries are evicted in their order, but for those that were hit since the
// last time round. New entries are tried soon, so scans do little harm. A hit writes one bit, once.
struct Sieve {
  using Implementation = internal::SievePolicy;
  static constexpr std::string_view kName = "Sieve";
};

// S3-FIFO: a tenth of the entries are on trial; those hit twice by the end of it, or soon wanted
// again, go on to the rest. Most resistant to scans and to keys that are asked for once. A hit
// counts up to three in its entry, then writes nothing.
struct S3Fifo {
  using Implementation = internal::S3FifoPolicy;
  static constexpr std::string_view kName = "S3Fifo";
};

// What a policy has to bring. It sees node headers only, never keys or values; it takes no lock,
// reads no clock and does no I/O. Its class is compiled once, in src/.
//   kLinked     whether it links nodes in lists (node.h, NodePrefix)
//   kSettled    bits of a node's state: where all are set, OnHit needn't be called; 0: it must be
//   Shared      what hits of all threads read, on the stripe's read-mostly line
//   OnHit       a lookup found the node. Without a lock, from many threads at once: it may write
//               the node's stamp or count an access, with atomic operations, and nothing else.
//               False: it couldn't, and has to be called again after Renew
// and under the stripe's lock:
//   Renew       OnHit said false in this thread, which it does seldom
//   OnInsert    the node has entered the cache. `fingerprint` stands for its key: equal keys have
//               equal ones, also after they were evicted
//   OnReplace   the node has taken the place of `old`, of the same key, which has left: an access
//   OnUpdate    the node's value was overwritten: an access
//   Victim      the node to evict next, of those that entered and haven't left; it stays for now
//   Next        guesses at what Victim will say next and after that, made in no time
//   OnEvict     the node that Victim named has left
//   OnRemove    the node has left for another reason
//   Clear       all nodes have left: to be forgotten in O(1), so without touching them; the slots
//               that they are in aren't among those that can be walked any more (slab.h)
// and for snapshots, so that the order of eviction outlives the process:
//   kLines      how many queues nodes are evicted from; 0: it goes by their ranks alone
//   Rank        with kLines == 0: nodes of lower ranks are evicted earlier. Without a lock
//   Standing    what else the policy knows of a node; 0 if it knows no more than of one that has
//               just entered. Without a lock
// and, where kLines > 0, under the stripe's lock:
//   LineSize    nodes in a queue, 0..kLines-1. To be asked before the following
//   FirstInLine, NextInLine   the nodes of a queue, those first that are evicted first; kNoNode
//               where there is none
//   IsInLine    whether a node, which may have left, is in this queue
//   Restore     gives a node that has entered the standing that another one had
template <class P>
concept RanksNodes = P::kLines == 0 &&
                     requires(const internal::NodeHeader& node, const typename P::Shared& shared) {
  { P::Rank(node, shared) } -> std::same_as<uint64_t>;
};
template <class P>
concept QueuesNodes = (P::kLines > 0) &&
                      requires(P policy, int line, internal::NodeIndex index, uint32_t standing) {
  { policy.LineSize(line) } -> std::same_as<size_t>;
  { policy.FirstInLine(line) } -> std::same_as<internal::NodeIndex>;
  { policy.NextInLine(line, index) } -> std::same_as<internal::NodeIndex>;
  { policy.IsInLine(line, index) } -> std::same_as<bool>;
  { policy.Restore(index, standing) } -> std::same_as<void>;
};
template <class P>
concept PolicyImplementation = std::constructible_from<
    P, const internal::Slab*, const internal::SlotAllocator*, typename P::Shared*> &&
    requires(P policy, internal::NodeHeader& node, internal::ThreadRecord& thread,
             const typename P::Shared& shared, internal::NodeIndex index, uint64_t fingerprint,
             size_t live) {
  { P::kLinked } -> std::convertible_to<bool>;
  { P::kSettled } -> std::convertible_to<uint32_t>;
  { P::OnHit(node, thread, shared) } -> std::same_as<bool>;
  { policy.Renew(thread) } -> std::same_as<void>;
  { policy.OnInsert(index, fingerprint, thread) } -> std::same_as<void>;
  { policy.OnReplace(index, index, thread) } -> std::same_as<void>;
  { policy.OnUpdate(index, thread) } -> std::same_as<void>;
  { policy.Victim(live) } -> std::same_as<internal::NodeIndex>;
  { policy.Next() } -> std::same_as<internal::NextVictims>;
  { policy.OnEvict(index, fingerprint) } -> std::same_as<void>;
  { policy.OnRemove(index) } -> std::same_as<void>;
  { policy.Clear() } -> std::same_as<void>;
  { P::kLines } -> std::convertible_to<int>;
  { P::Standing(node) } -> std::same_as<uint32_t>;
} &&(RanksNodes<P> || QueuesNodes<P>);

// A tag type that names a policy.
template <class P>
concept EvictionPolicy = PolicyImplementation<typename P::Implementation> && requires {
  { P::kName } -> std::convertible_to<std::string_view>;
};

}  // namespace larder

#endif  // LARDER_POLICY_H_
