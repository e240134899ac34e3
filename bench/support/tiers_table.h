// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_TIERS_TABLE_H_
#define LARDER_BENCH_SUPPORT_TIERS_TABLE_H_

#include <string>

#include "bench/support/result_table.h"

namespace larder::bench {

// A display reporter that prints, once all benchmarks of the main job have run, what they found as
// tables for a person: the tiers beside what their documents say, the request flows, the thousand
// askers. Benchmarks that were not run are left out, for those that failed it says why.
class TiersTable : public ResultTable {
 public:
  std::string Format() const override;

 private:
  std::string FormatTiers() const;
  std::string FormatTierRatios() const;
  std::string FormatFlows() const;
  std::string FormatAskers() const;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_TIERS_TABLE_H_
