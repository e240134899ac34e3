// SPDX-License-Identifier: Apache-2.0

#include "bench/support/peers_table.h"

#include <algorithm>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/support/text_table.h"
#include "benchmark/benchmark.h"

namespace larder::bench {
namespace {

// For two figures that are near to one another, too.
std::string Share(double share) { return absl::StrFormat("%.2f", share); }

}  // namespace

bool PeersTable::ReportContext(const Context&) { return true; }

void PeersTable::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    if (run.run_type == Run::RT_Aggregate && run.aggregate_name != "median") continue;
    // What failed has no counters.
    const auto it = run.counters.find("ns_per_op");
    if (it != run.counters.end()) nanos_[run.run_name.str()] = it->second.value;
  }
}

void PeersTable::Finalize() { GetOutputStream() << Format() << std::flush; }

std::optional<double> PeersTable::Nanos(const Work& work, int threads,
                                        const Contender& contender) const {
  const auto it = nanos_.find(absl::StrCat(work.benchmark, "<", contender.name, ">/",
                                           work.arguments, "/threads:", threads));
  return it == nanos_.end() ? std::nullopt : std::optional<double>(it->second);
}

std::optional<double> PeersTable::BestRival(const Work& work, int threads) const {
  std::optional<double> best;
  for (const Contender& contender : contenders_) {
    if (contender.kind != Kind::kRival) continue;
    const std::optional<double> nanos = Nanos(work, threads, contender);
    if (nanos && (!best || *nanos < *best)) best = nanos;
  }
  return best;
}

bool PeersTable::WasMeasured(const Contender& contender) const {
  return std::any_of(works_.begin(), works_.end(), [&](const Work& work) {
    return std::any_of(threads_.begin(), threads_.end(),
                       [&](int threads) { return Nanos(work, threads, contender).has_value(); });
  });
}

std::vector<std::string> PeersTable::NanosRow(const Work& work, int threads) const {
  std::vector<std::string> row = {
      absl::StrCat(work.title, ", ", threads, threads == 1 ? " thread" : " threads")};
  bool any = false;
  for (const Contender& contender : contenders_) {
    if (!WasMeasured(contender)) continue;
    const std::optional<double> nanos = Nanos(work, threads, contender);
    any = any || nanos.has_value();
    row.push_back(nanos ? absl::StrFormat("%.1f", *nanos) : "");
  }
  if (!any) return {};
  const std::optional<double> best = BestRival(work, threads);
  row.push_back(best ? absl::StrFormat("%.1f", *best) : "");
  return row;
}

std::vector<std::string> PeersTable::RatiosRow(const Work& work, int threads,
                                               const Contender& ours) const {
  const std::optional<double> our_nanos = Nanos(work, threads, ours);
  if (!our_nanos) return {};
  std::vector<std::string> row = {absl::StrCat("  ", ours.title, " / theirs")};
  bool any = false;
  for (const Contender& contender : contenders_) {
    if (!WasMeasured(contender)) continue;
    const std::optional<double> nanos = Nanos(work, threads, contender);
    const bool shown = nanos && contender.name != ours.name;
    any = any || shown;
    row.push_back(shown ? Share(*our_nanos / *nanos) : "");
  }
  if (!any) return {};
  const std::optional<double> best = BestRival(work, threads);
  row.push_back(best ? Share(*our_nanos / *best) : "");
  return row;
}

std::string PeersTable::Format() const {
  TextTable table;
  std::vector<std::string> heading = {"NS AN OPERATION"};
  for (const Contender& contender : contenders_) {
    if (WasMeasured(contender)) heading.push_back(contender.title);
  }
  heading.push_back("best rival");
  table.AddRow(std::move(heading));
  for (const Work& work : works_) {
    for (const int threads : threads_) {
      std::vector<std::string> nanos = NanosRow(work, threads);
      if (nanos.empty()) continue;
      table.AddRow(std::move(nanos));
      for (const Contender& contender : contenders_) {
        if (contender.kind != Kind::kOurs) continue;
        std::vector<std::string> ratios = RatiosRow(work, threads, contender);
        if (!ratios.empty()) table.AddRow(std::move(ratios));
      }
    }
  }
  for (const Contender& contender : contenders_) {
    if (contender.missing_package.empty()) continue;
    table.AddNote(contender.title, "not measured: " + contender.missing_package);
  }
  return absl::StrCat(
      "\n", table.Format(),
      "  A thread's wall-clock time for an operation; medians where there are repetitions. Ratios "
      "are ours/theirs: below 1, larder is faster;\n  as many threads do 1/ratio times the "
      "operations in the same time. Best rival: the fastest of the caches that others would use "
      "in place of larder.\n");
}

}  // namespace larder::bench
