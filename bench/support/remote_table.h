// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_REMOTE_TABLE_H_
#define LARDER_BENCH_SUPPORT_REMOTE_TABLE_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/support/redis_outage_results.h"
#include "bench/support/result_table.h"

namespace larder::bench {

// A display reporter that prints what the benchmarks of the shared tier have found, as tables: what
// a request takes, how many GETs there are a second, how soon an old copy is gone, and what became
// of an outage of Redis. Benchmarks that were not run are left out; for those that failed it says
// why.
class RemoteTable : public ResultTable {
 public:
  // `outages` are those that were run by the time this is printed.
  explicit RemoteTable(std::shared_ptr<const std::vector<RedisOutageSeries>> outages)
      : outages_(std::move(outages)) {}

  std::string Format() const override;

 private:
  std::string FormatLatencies() const;
  std::string FormatGets(std::string_view way, std::string_view heading,
                         std::string_view beside) const;
  std::string FormatInvalidations() const;
  std::string FormatOutage(const RedisOutagePlan& plan) const;
  std::string FormatFailures() const;

  const std::shared_ptr<const std::vector<RedisOutageSeries>> outages_;
};

// The tenths of a second around a run's three events: Redis goes away, is back, is used again.
// Each tenth once, in order.
std::string FormatEvents(const RedisOutageSeries& series);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_REMOTE_TABLE_H_
