// SPDX-License-Identifier: Apache-2.0
#include "tests/support/history.h"

#include "absl/strings/str_cat.h"

namespace larder::test {
namespace {

std::string Describe(const Operation& op) {
  switch (op.kind) {
    case OpKind::kGet:
      return absl::StrCat("Get -> ", ToString(op.before));
    case OpKind::kContains:
      return absl::StrCat("Contains -> ", op.result ? "true" : "false");
    case OpKind::kPut:
      return absl::StrCat("Put(", ToString(op.after), ")");
    case OpKind::kPutIfAbsent:
      return absl::StrCat("PutIfAbsent(", ToString(op.after), ") -> ",
                          op.result ? "true" : "false");
    case OpKind::kErase:
      return absl::StrCat("Erase -> ", op.result ? "true" : "false");
    case OpKind::kClear:
      return "Clear";
    case OpKind::kCompute:
      return absl::StrCat("Compute(", ToString(op.before), " => ", ToString(op.after), ")");
    case OpKind::kVoidLoads:
      return "VoidLoads";
    case OpKind::kGetOrLoad:
      return absl::StrCat("GetOrLoad -> ", ToString(op.before));
    case OpKind::kLoadBegin:
      return absl::StrCat("LoadBegin(", ToString(op.after), ")");
    case OpKind::kLoadStore:
      return absl::StrCat("LoadStore(", ToString(op.after), ")");
    case OpKind::kLoadEnd:
      return absl::StrCat("LoadEnd(", ToString(op.after), ")");
  }
  return "?";
}

}  // namespace

std::string ToString(const std::optional<uint64_t>& value) {
  return value.has_value() ? absl::StrCat(*value) : "absent";
}

std::string ToString(const Operation& op) {
  return absl::StrCat("[", op.invoked, ", ", op.responded, "] T", op.thread, " ", Describe(op));
}

std::ostream& operator<<(std::ostream& out, const Operation& operation) {
  return out << "key " << operation.key << " " << ToString(operation);
}

std::map<uint64_t, History> SplitByKey(const History& history) {
  std::map<uint64_t, History> by_key;
  for (const Operation& operation : history) by_key[operation.key].push_back(operation);
  return by_key;
}

ThreadLog::ThreadLog(int thread, EventCounter* counter, size_t reserve)
    : thread_(thread), counter_(counter) {
  operations_.reserve(reserve);
}

void ThreadLog::EraseIf(uint64_t key, uint64_t invoked, uint64_t responded, bool erased) {
  AddAt(responded, {.kind = OpKind::kVoidLoads, .key = key, .invoked = invoked});
  if (!erased) return;
  AddAt(responded, {.kind = OpKind::kErase, .key = key, .invoked = invoked, .result = true});
}

void ThreadLog::Load(uint64_t key, uint64_t invoked, uint64_t loader_began, uint64_t loader_ended,
                     uint64_t loaded, bool ok) {
  const uint64_t responded = Now();
  AddAt(loader_began,
        {.kind = OpKind::kLoadBegin, .key = key, .invoked = invoked, .after = loaded});
  if (ok) {
    AddAt(responded,
          {.kind = OpKind::kLoadStore, .key = key, .invoked = loader_ended, .after = loaded});
  }
  AddAt(responded,
        {.kind = OpKind::kLoadEnd, .key = key, .invoked = loader_ended, .after = loaded});
}

HistoryRecorder::HistoryRecorder(int threads, size_t operations_per_thread) {
  for (int thread = 0; thread < threads; ++thread) {
    logs_.push_back(std::make_unique<ThreadLog>(thread, &counter_, operations_per_thread));
  }
}

History HistoryRecorder::Collect() const {
  History history;
  for (const auto& log : logs_) {
    history.insert(history.end(), log->operations().begin(), log->operations().end());
  }
  return history;
}

}  // namespace larder::test
