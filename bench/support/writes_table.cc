// SPDX-License-Identifier: Apache-2.0

#include "bench/support/writes_table.h"

#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/support/latency_counters.h"
#include "bench/support/text_table.h"

namespace larder::bench {
namespace {

using Cells = std::vector<std::string>;

std::string Threads(int threads) {
  return threads == 1 ? "1 thread" : absl::StrCat(threads, " threads");
}

std::string PerPut(double ratio) { return absl::StrFormat("%.*f", ratio < 0.1 ? 3 : 2, ratio); }

}  // namespace

std::string PutBenchmark(std::string_view database, std::string_view mode, int threads) {
  return absl::StrCat("BM_Put/", std::string(database), "/", std::string(mode), "/", threads);
}

std::string GroupBenchmark(std::string_view how, int threads) {
  return absl::StrCat("BM_GroupCommit/", std::string(how), "/", threads);
}

std::string BurstBenchmark(std::string_view name) {
  return absl::StrCat("BM_Burst/", std::string(name));
}

std::string WritesTable::Format() const {
  std::string text =
      "\nThreads put 100-byte values, each as soon as its last put has returned. Latencies are of "
      "single puts. With more threads\nthan processors they include waiting for a processor.\n";
  for (const WritesDatabase& database : plan_.databases) {
    absl::StrAppend(&text, FormatLatencies(database), FormatThroughput(database));
  }
  return absl::StrCat(text, FormatGroups(), FormatBursts(), FormatFailures());
}

std::string WritesTable::FormatLatencies(const WritesDatabase& database) const {
  TextTable table;
  Cells head = {absl::StrCat("A PUT, ", database.title)};
  for (const int threads : plan_.threads) {
    head.insert(head.end(), {absl::StrCat(Threads(threads), ": p50"), "p99"});
  }
  table.AddRow(head);
  bool any = false;
  for (const WriteMode& mode : plan_.modes) {
    Cells row = {mode.title};
    for (const int threads : plan_.threads) {
      const Result* result = Find(PutBenchmark(database.name, mode.name, threads));
      if (result == nullptr || !result->error.empty()) {
        row.insert(row.end(), {"–", "–"});
        continue;
      }
      any = true;
      for (const char* quantile : {"p50_us", "p99_us"}) {
        row.push_back(FormatNanos(result->counters.at(quantile) * kNanosPerMicro));
      }
    }
    table.AddRow(row);
  }
  return any ? absl::StrCat("\n", table.Format()) : "";
}

std::string WritesTable::FormatThroughput(const WritesDatabase& database) const {
  TextTable table;
  Cells head = {"PUTS A SECOND"};
  for (const int threads : plan_.threads) head.push_back(Threads(threads));
  head.insert(head.end(), {"database calls for 1,000", "all stored after", "lost with"});
  table.AddRow(head);
  bool any = false;
  for (const WriteMode& mode : plan_.modes) {
    Cells row = {mode.title};
    const Result* last = nullptr;
    for (const int threads : plan_.threads) {
      const Result* result = Find(PutBenchmark(database.name, mode.name, threads));
      if (result == nullptr || !result->error.empty()) {
        row.push_back("–");
        continue;
      }
      last = result;
      row.push_back(FormatCount(result->counters.at("puts_per_s")));
    }
    if (last == nullptr) continue;
    any = true;
    const auto& counters = last->counters;
    const double calls = 1000 * counters.at("write_calls") / counters.at("samples");
    row.insert(row.end(), {calls < 10 ? absl::StrFormat("%.2g", calls) : FormatCount(calls),
                           mode.policy == WritePolicy::kBehind
                               ? FormatNanos(counters.at("flush_ms") * kNanosPerMilli)
                               : "",
                           mode.lost_with});
    table.AddRow(row);
  }
  return any ? absl::StrCat("\n", table.Format()) : "";
}

std::string WritesTable::FormatGroups() const {
  TextTable table;
  table.AddRow({"GROUP COMMIT", "larder: puts/s", "p50", "p99", "syncs a put", "sync each: puts/s",
                "p50", "p99", "larder is"});
  bool any = false;
  for (const int threads : plan_.group_threads) {
    const Result* journal = Find(GroupBenchmark("journal", threads));
    const Result* each = Find(GroupBenchmark("sync_each", threads));
    if (journal == nullptr || each == nullptr) continue;
    if (!journal->error.empty() || !each->error.empty()) continue;
    any = true;
    const auto micros = [](const Result* result, const char* counter) {
      return FormatNanos(result->counters.at(counter) * kNanosPerMicro);
    };
    const double larder = journal->counters.at("puts_per_s");
    const double naive = each->counters.at("puts_per_s");
    table.AddRow({Threads(threads), FormatCount(larder), micros(journal, "p50_us"),
                  micros(journal, "p99_us"), PerPut(journal->counters.at("syncs_per_put")),
                  FormatCount(naive), micros(each, "p50_us"), micros(each, "p99_us"),
                  absl::StrCat(FormatRatio(larder / naive), " as fast")});
  }
  if (!any) return "";
  return absl::StrCat(
      "\n", table.Format(),
      "  Each put is on the disk when it returns. larder: write-behind with a synced journal, "
      "where "
      "threads share syncs.\n  Sync each: a file to which each put appends, and syncs it.\n");
}

std::string WritesTable::FormatBursts() const {
  TextTable table;
  table.AddRow({"BURSTS", "puts", "p50", "p99", "max", "last put after", "most queued",
                "waited longest", "all stored after", "stored", "replaced", "failed attempts"});
  bool any = false;
  for (const auto& [name, title] : plan_.bursts) {
    const Result* result = Find(BurstBenchmark(name));
    if (result == nullptr || !result->error.empty()) continue;
    any = true;
    const auto count = [&](const char* counter) {
      return FormatCount(result->counters.at(counter));
    };
    const auto nanos = [&](const char* counter, double unit) {
      return FormatNanos(result->counters.at(counter) * unit);
    };
    table.AddRow({title, count("samples"), nanos("p50_us", kNanosPerMicro),
                  nanos("p99_us", kNanosPerMicro), nanos("max_us", kNanosPerMicro),
                  nanos("last_put_ms", kNanosPerMilli), count("most_queued"),
                  nanos("oldest_ms", kNanosPerMilli), nanos("drained_ms", kNanosPerMilli),
                  count("stored"), count("coalesced"), count("failures")});
  }
  return any ? absl::StrCat("\n", table.Format()) : "";
}

std::string WritesTable::FormatFailures() const {
  std::string text;
  for (const auto& [name, result] : results()) {
    if (!result.error.empty()) absl::StrAppend(&text, "  ", name, ": ", result.error, "\n");
  }
  return text.empty() ? "" : absl::StrCat("\n  NOT MEASURED\n", text);
}

}  // namespace larder::bench
