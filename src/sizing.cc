// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/sizing.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <thread>

namespace larder::internal {
namespace {

// With fewer entries per stripe than this, evicting per stripe is a visibly worse order than
// evicting over the whole cache.
constexpr uint64_t kFewestEntriesPerStripe = 512;
// Enough for two writers to meet rarely.
constexpr unsigned kStripesPerCore = 32;
constexpr int kMostChosenStripesLog2 = 10;

// A cache's capacity may be raised later, and pinned entries stay in memory past their removal.
constexpr uint64_t kNodesPerCapacity = 16;
constexpr uint64_t kFewestNodes = uint64_t{1} << 26;
constexpr uint64_t kFewestNodesBytes = uint64_t{16} << 30;
constexpr uint64_t kMostNodes = uint64_t{1} << 31;

constexpr int kSmallestChunkLog2 = 6;
constexpr int kLargestChunkLog2 = 8;
constexpr int kFewestSlotsLog2 = 4;  // whatever a node's size
constexpr size_t kLargestChunkBytes = size_t{256} << 10;

// A table of one small page.
constexpr size_t kFirstTable = 64 * 9;

int CeilLog2(uint64_t n) { return n <= 1 ? 0 : std::bit_width(n - 1); }
int FloorLog2(uint64_t n) { return n == 0 ? 0 : std::bit_width(n) - 1; }

int ChooseStripesLog2(const CacheOptions& options) {
  if (options.stripes > 0) return CeilLog2(static_cast<uint64_t>(options.stripes));
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  const int wanted = CeilLog2(uint64_t{cores} * kStripesPerCore);
  const int sensible = FloorLog2(options.capacity / kFewestEntriesPerStripe);
  return std::min({wanted, sensible, kMostChosenStripesLog2});
}

}  // namespace

Sizing Sizing::For(const CacheOptions& options, bool weighed, size_t node_size) {
  Sizing sizing;
  sizing.stripes_log2 = ChooseStripesLog2(options);
  const uint64_t share = options.capacity >> sizing.stripes_log2;

  const int chunk_log2 = std::clamp(FloorLog2(share / 4), kSmallestChunkLog2, kLargestChunkLog2);
  const int most_log2 = std::max(kFewestSlotsLog2, FloorLog2(kLargestChunkBytes / node_size));
  sizing.chunk_log2 = std::min(chunk_log2, most_log2);

  const uint64_t wanted =
      options.capacity < kMostNodes ? options.capacity * kNodesPerCapacity : kMostNodes;
  const uint64_t fewest = std::min(kFewestNodes, kFewestNodesBytes / node_size);
  sizing.most_nodes = std::min(std::max(wanted, fewest), kMostNodes);

  sizing.full_nodes = 0;
  sizing.stripe_entries = 0;
  if (!weighed) {
    sizing.full_nodes = std::min(options.capacity, kMostNodes);
    // Keys spread over stripes like balls over boxes: four standard deviations is plenty.
    const auto mean = static_cast<double>(std::max<uint64_t>(share, 1));
    const double spread = sizing.stripes_log2 == 0 ? 0 : 4 * std::sqrt(mean);
    sizing.stripe_entries = static_cast<size_t>(std::min(mean + spread, 1e15)) + 1;
  }
  sizing.reclaim_weight = std::max<uint64_t>(1, share / 32);
  return sizing;
}

size_t Sizing::FirstTable() const {
  return stripe_entries == 0 ? kFirstTable : std::min(kFirstTable, stripe_entries);
}

size_t Sizing::GrownTable(size_t old_entries) const {
  const size_t doubled = old_entries * 2;
  return old_entries < stripe_entries ? std::min(doubled, stripe_entries) : doubled;
}

}  // namespace larder::internal
