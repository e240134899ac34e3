// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_WRITES_TABLE_H_
#define LARDER_BENCH_SUPPORT_WRITES_TABLE_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/support/result_table.h"
#include "bench/support/write_modes.h"

namespace larder::bench {

struct WritesDatabase {
  std::string name;
  std::string title;
};

// What was measured, in the order in which it is shown.
struct WritesPlan {
  std::vector<WritesDatabase> databases;
  std::vector<WriteMode> modes;
  std::vector<int> threads;
  std::vector<int> group_threads;
  std::vector<std::pair<std::string, std::string>> bursts;  // name, title
};

// "BM_Put/slow/through/16".
std::string PutBenchmark(std::string_view database, std::string_view mode, int threads);
// "BM_GroupCommit/journal/16", "BM_GroupCommit/sync_each/16".
std::string GroupBenchmark(std::string_view how, int threads);
// "BM_Burst/own_keys".
std::string BurstBenchmark(std::string_view name);

// A display reporter that prints what a put costs with each mode, what group commit gains, and what
// bursts did to the queue, as tables. Benchmarks that were not run are left out; for those that
// failed it says why.
class WritesTable : public ResultTable {
 public:
  explicit WritesTable(WritesPlan plan) : plan_(std::move(plan)) {}

  std::string Format() const override;

 private:
  std::string FormatLatencies(const WritesDatabase& database) const;
  std::string FormatThroughput(const WritesDatabase& database) const;
  std::string FormatGroups() const;
  std::string FormatBursts() const;
  std::string FormatFailures() const;

  const WritesPlan plan_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_WRITES_TABLE_H_
