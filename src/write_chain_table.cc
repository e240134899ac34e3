// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/write_chain_table.h"

#include <bit>
#include <cstdlib>
#include <new>

namespace larder::internal {

WriteChainTable::WriteChainTable() { parts_[0] = NewPart(round_); }

void WriteChainTable::Free::operator()(void* memory) const { std::free(memory); }

// From calloc, which gives large pieces of memory without touching them.
WriteChainTable::Part WriteChainTable::NewPart(size_t buckets) {
  Part part(static_cast<WriteChain**>(std::calloc(buckets, sizeof(WriteChain*))));
  if (part == nullptr) throw std::bad_alloc();
  return part;
}

size_t WriteChainTable::PartOf(size_t bucket) {
  return static_cast<size_t>(std::bit_width(bucket >> kFirstBits));
}

size_t WriteChainTable::BucketOf(uint64_t hash) const {
  // A user's hash may have its randomness anywhere: the product's upper half depends on all of it.
  const uint64_t mixed = (hash ^ (hash >> 32)) * 0x9e3779b97f4a7c15 >> 16;
  const size_t bucket = mixed & (2 * round_ - 1);
  return bucket < buckets_ ? bucket : bucket - round_;
}

WriteChain*& WriteChainTable::Bucket(size_t index) const {
  const size_t part = PartOf(index);
  return parts_[part][part == 0 ? index : index - (size_t{1} << (kFirstBits - 1 + part))];
}

void WriteChainTable::Reserve() {
  const size_t part = PartOf(buckets_);
  if (size_ >= buckets_ && parts_[part] == nullptr) parts_[part] = NewPart(round_);
}

void WriteChainTable::Insert(WriteChain* chain) {
  if (size_ >= buckets_) Split();
  WriteChain*& bucket = Bucket(BucketOf(chain->hash));
  chain->next_in_bucket = bucket;
  bucket = chain;
  ++size_;
}

void WriteChainTable::Remove(WriteChain* chain) {
  WriteChain** link = &Bucket(BucketOf(chain->hash));
  while (*link != chain) link = &(*link)->next_in_bucket;
  *link = chain->next_in_bucket;
  --size_;
}

// Adds a bucket, and takes those of its chains that belong there from the bucket round_ before it.
void WriteChainTable::Split() {
  WriteChain*& bucket = Bucket(buckets_ - round_);
  WriteChain* chain = bucket;
  bucket = nullptr;
  if (++buckets_ == 2 * round_) round_ = buckets_;
  while (chain != nullptr) {
    WriteChain* const next = chain->next_in_bucket;
    WriteChain*& home = Bucket(BucketOf(chain->hash));
    chain->next_in_bucket = home;
    home = chain;
    chain = next;
  }
}

}  // namespace larder::internal
