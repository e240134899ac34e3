// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_PEERS_TABLE_H_
#define LARDER_BENCH_SUPPORT_PEERS_TABLE_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"

namespace larder::bench {

// A display reporter that prints one table once all benchmarks have run: for each work and number
// of threads what an operation takes with each contender, and the ratios ours/theirs of these.
class PeersTable : public benchmark::BenchmarkReporter {
 public:
  struct Work {
    std::string benchmark;  // "BM_Mix"
    std::string arguments;  // "read_percent:95"
    std::string title;
  };
  enum class Kind {
    kOurs,  // has a row of ratios
    kBaseline,
    kRival,  // "best rival" is the best of these
  };
  struct Contender {
    std::string name;  // as in BM_Mix<name>
    std::string title;
    Kind kind;
    std::string missing_package = "";  // if that is why it was not measured
  };

  PeersTable(std::vector<Work> works, std::vector<int> threads, std::vector<Contender> contenders)
      : works_(std::move(works)),
        threads_(std::move(threads)),
        contenders_(std::move(contenders)) {}

  bool ReportContext(const Context& context) override;
  // Of repetitions the median is shown.
  void ReportRuns(const std::vector<Run>& runs) override;
  void Finalize() override;

  // What Finalize() prints.
  std::string Format() const;

 private:
  // ns_per_op of what was measured.
  std::optional<double> Nanos(const Work& work, int threads, const Contender& contender) const;
  // The fewest among the rivals.
  std::optional<double> BestRival(const Work& work, int threads) const;
  std::vector<std::string> NanosRow(const Work& work, int threads) const;
  std::vector<std::string> RatiosRow(const Work& work, int threads, const Contender& ours) const;
  bool WasMeasured(const Contender& contender) const;

  const std::vector<Work> works_;
  const std::vector<int> threads_;
  const std::vector<Contender> contenders_;
  std::map<std::string, double> nanos_;  // by benchmark
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_PEERS_TABLE_H_
