// SPDX-License-Identifier: Apache-2.0
//
// WriteChainTable: chains by key.

#ifndef LARDER_INTERNAL_WRITE_CHAIN_TABLE_H_
#define LARDER_INTERNAL_WRITE_CHAIN_TABLE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "larder/internal/write_chain.h"

namespace larder::internal {

// Linear hashing (W. Litwin, "Linear Hashing: A New Tool for File and Table Addressing", VLDB 1980)
// over lists of chains: a table that has more chains than buckets splits one bucket with each chain
// that comes. So no call takes long, however many chains there are, and a lookup looks at two
// chains or so. Buckets are never given back.
//
// Not thread-safe. All calls are O(1).
class WriteChainTable {
 public:
  WriteChainTable();

  size_t size() const { return size_; }

  // The first chain of this hash for which same_key(chain) is true; nullptr: none.
  template <class SameKey>
  WriteChain* Find(uint64_t hash, const SameKey& same_key) const {
    WriteChain* chain = Bucket(BucketOf(hash));
    while (chain != nullptr && !(chain->hash == hash && same_key(*chain))) {
      chain = chain->next_in_bucket;
    }
    return chain;
  }

  // Memory for one more chain. std::bad_alloc: nothing has changed.
  void Reserve();

  // Requires: Reserve was called since the last Insert.
  void Insert(WriteChain* chain);

  // Requires: it is there.
  void Remove(WriteChain* chain);

  // Calls f(chain) for each, in no order, and forgets them. f may free the chain.
  template <class F>
  void Clear(F&& f) {
    for (size_t i = 0; i < buckets_; ++i) {
      for (WriteChain* chain = Bucket(i); chain != nullptr;) {
        WriteChain* const next = chain->next_in_bucket;
        f(chain);
        chain = next;
      }
      Bucket(i) = nullptr;
    }
    size_ = 0;
  }

 private:
  // Part 0 has buckets 0 .. 2^kFirstBits - 1, part i > 0 as many as all parts before it.
  static constexpr int kFirstBits = 6;
  static constexpr size_t kParts = 48 - kFirstBits;
  struct Free {
    void operator()(void* memory) const;
  };
  using Part = std::unique_ptr<WriteChain*[], Free>;

  static Part NewPart(size_t buckets);
  static size_t PartOf(size_t bucket);
  size_t BucketOf(uint64_t hash) const;
  WriteChain*& Bucket(size_t index) const;
  void Split();

  std::array<Part, kParts> parts_;
  size_t round_ = size_t{1} << kFirstBits;  // a power of two; buckets_ is in round_ .. 2 round_ - 1
  size_t buckets_ = size_t{1} << kFirstBits;  // those up to buckets_ - round_ are split
  size_t size_ = 0;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_WRITE_CHAIN_TABLE_H_
