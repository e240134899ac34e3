// SPDX-License-Identifier: Apache-2.0
#include "tests/support/linearizability.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"

namespace larder::test {
namespace {

constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

struct State {
  std::optional<uint64_t> value;
  std::optional<uint64_t> flight;  // the load in progress that nothing has made void yet

  friend bool operator==(const State&, const State&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const State& s) {
    return H::combine(std::move(h), s.value, s.flight);
  }
};

std::string ToString(const State& state) {
  std::string text = test::ToString(state.value);
  if (state.flight.has_value()) absl::StrAppend(&text, " (loading ", *state.flight, ")");
  return text;
}

// Runs `op` on `state`; false, with an unspecified state, if it would have answered otherwise.
bool ApplyExactly(const Operation& op, State* state) {
  const bool present = state->value.has_value();
  switch (op.kind) {
    case OpKind::kGet:
      return state->value == op.before;
    case OpKind::kContains:
      return present == op.result;
    case OpKind::kPut:
      *state = {op.after, std::nullopt};
      return true;
    case OpKind::kPutIfAbsent:
      if (op.result) *state = {op.after, std::nullopt};
      return present != op.result;
    case OpKind::kErase:
      *state = {};
      return present == op.result;
    case OpKind::kClear:
      *state = {};
      return true;
    case OpKind::kCompute: {
      const bool same = state->value == op.before;
      *state = {op.after, std::nullopt};
      return same;
    }
    case OpKind::kVoidLoads:
      state->flight.reset();
      return true;
    case OpKind::kGetOrLoad:
      return op.before.has_value() && (state->value == op.before || state->flight == op.before);
    case OpKind::kLoadBegin: {
      const bool free = !present && !state->flight.has_value();
      state->flight = op.after;
      return free;
    }
    case OpKind::kLoadStore:
      if (state->flight == op.after) state->value = op.after;
      return true;
    case OpKind::kLoadEnd:
      if (state->flight == op.after) state->flight.reset();
      return true;
  }
  return false;
}

// Letting the entry vanish only where the operation asks for it loses no order: whatever can follow
// an absent entry can follow a present one, which may still vanish.
bool Apply(const Operation& op, bool may_vanish, State* state) {
  State next = *state;
  bool ok = ApplyExactly(op, &next);
  if (!ok && may_vanish && state->value.has_value()) {
    next = {std::nullopt, state->flight};
    ok = ApplyExactly(op, &next);
  }
  if (ok) *state = next;
  return ok;
}

bool IsRead(const Operation& op) {
  return op.kind == OpKind::kGet || op.kind == OpKind::kContains || op.kind == OpKind::kGetOrLoad ||
         (op.kind == OpKind::kPutIfAbsent && !op.result);
}

// Whether `op`, which may come next, may be taken next without looking at any alternative: it
// answers right, has no effect, and would have none later, so no order is lost by having it now.
bool MayComeAtOnce(const Operation& op, State state) {
  const bool end_of_void_load =
      (op.kind == OpKind::kLoadStore || op.kind == OpKind::kLoadEnd) && state.flight != op.after;
  return end_of_void_load || (IsRead(op) && ApplyExactly(op, &state));
}

// How many operations of each thread are linearised, and the state they lead to.
struct Configuration {
  absl::InlinedVector<uint32_t, 8> done;
  State state;

  friend bool operator==(const Configuration&, const Configuration&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Configuration& c) {
    return H::combine(std::move(h), c.done, c.state);
  }
};

// The search over a part of one key's history.
class Search {
 public:
  Search(const History& segment, const RegisterModel& model, size_t budget)
      : model_(model), budget_(budget) {
    for (const Operation& op : segment) {
      auto thread = std::find_if(threads_.begin(), threads_.end(), [&op](const auto& operations) {
        return operations.front()->thread == op.thread;
      });
      if (thread == threads_.end()) thread = threads_.emplace(thread);
      thread->push_back(&op);
    }
    total_ = segment.size();
  }

  // Finds every state the segment may end in, coming from any of `starts`; none if it is not
  // linearizable (or the budget is used up).
  std::vector<State> Run(const std::vector<State>& starts) {
    for (const State& start : starts) {
      Configuration nothing_done;
      nothing_done.done.resize(threads_.size(), 0);
      nothing_done.state = start;
      Visit(std::move(nothing_done), kNoParent, nullptr);
    }
    absl::flat_hash_set<State> ends;
    while (!open_.empty() && !gave_up()) {
      const size_t index = open_.back();
      open_.pop_back();
      Expand(index, &ends);
    }
    return gave_up() ? std::vector<State>() : std::vector<State>(ends.begin(), ends.end());
  }

  bool gave_up() const { return nodes_.size() > budget_; }
  size_t configurations() const { return nodes_.size(); }
  // Operations invoked after this instant have never been candidates.
  uint64_t horizon() const { return horizon_; }
  std::string DescribeDeepest() const;

 private:
  static constexpr size_t kNoParent = std::numeric_limits<size_t>::max();

  struct Node {
    Configuration configuration;
    size_t parent;
    const Operation* operation;  // that led here from the parent
    size_t depth;
  };

  const Operation* Next(const Configuration& configuration, size_t thread) const {
    const uint32_t done = configuration.done[thread];
    return done < threads_[thread].size() ? threads_[thread][done] : nullptr;
  }

  // An operation may come next only if nothing that is still missing responded before it began.
  uint64_t EarliestResponse(const Configuration& configuration) const {
    uint64_t earliest = kNever;
    for (size_t thread = 0; thread < threads_.size(); ++thread) {
      const Operation* op = Next(configuration, thread);
      if (op != nullptr) earliest = std::min(earliest, op->responded);
    }
    return earliest;
  }

  void Visit(Configuration configuration, size_t parent, const Operation* operation) {
    if (!seen_.insert(configuration).second) return;
    const size_t depth = parent == kNoParent ? 0 : nodes_[parent].depth + 1;
    nodes_.push_back({std::move(configuration), parent, operation, depth});
    open_.push_back(nodes_.size() - 1);
    if (depth > nodes_[deepest_].depth) deepest_ = nodes_.size() - 1;
  }

  void Expand(size_t index, absl::flat_hash_set<State>* ends) {
    if (nodes_[index].depth == total_) {
      ends->insert(nodes_[index].configuration.state);
      return;
    }
    const uint64_t earliest = EarliestResponse(nodes_[index].configuration);
    horizon_ = std::max(horizon_, earliest);
    for (size_t thread = 0; thread < threads_.size(); ++thread) {
      const Operation* op = Next(nodes_[index].configuration, thread);
      if (op != nullptr && op->invoked <= earliest &&
          MayComeAtOnce(*op, nodes_[index].configuration.state)) {
        return Take(index, thread, *op);
      }
    }
    for (size_t thread = 0; thread < threads_.size(); ++thread) {
      const Operation* op = Next(nodes_[index].configuration, thread);
      if (op != nullptr && op->invoked <= earliest) Take(index, thread, *op);
    }
  }

  // Visits what follows if `op` comes next, unless it would have answered otherwise.
  void Take(size_t index, size_t thread, const Operation& op) {
    Configuration next = nodes_[index].configuration;
    if (!Apply(op, model_.may_vanish, &next.state)) return;
    ++next.done[thread];
    Visit(std::move(next), index, &op);
  }

  const RegisterModel& model_;
  const size_t budget_;
  std::vector<std::vector<const Operation*>> threads_;
  size_t total_ = 0;
  absl::flat_hash_set<Configuration> seen_;
  std::vector<Node> nodes_;
  std::vector<size_t> open_;
  size_t deepest_ = 0;
  uint64_t horizon_ = 0;
};

void AppendLast(const std::vector<const Operation*>& operations, std::string* text,
                size_t most = 60) {
  const size_t skip = operations.size() > most ? operations.size() - most : 0;
  if (skip > 0) absl::StrAppend(text, "  (", skip, " earlier ones)\n");
  for (size_t i = skip; i < operations.size(); ++i) {
    absl::StrAppend(text, "  ", ToString(*operations[i]), "\n");
  }
}

std::string Search::DescribeDeepest() const {
  std::vector<const Operation*> path;
  for (size_t i = deepest_; nodes_[i].parent != kNoParent; i = nodes_[i].parent) {
    path.push_back(nodes_[i].operation);
  }
  std::reverse(path.begin(), path.end());
  const Configuration& stuck = nodes_[deepest_].configuration;
  std::string text = "longest order found:\n";
  AppendLast(path, &text);
  absl::StrAppend(&text, "then the state is ", ToString(stuck.state),
                  ", and none of these can come next:\n");
  const uint64_t earliest = EarliestResponse(stuck);
  for (size_t thread = 0; thread < threads_.size(); ++thread) {
    const Operation* op = Next(stuck, thread);
    if (op == nullptr) continue;
    absl::StrAppend(&text, "  ", ToString(*op));
    if (op->invoked > earliest) absl::StrAppend(&text, " (began after ", earliest, ")");
    text += "\n";
  }
  return text;
}

// Leaves out what does not matter: operations that began after the search was stuck, and reads (a
// linearizable history stays so without them) as long as the rest is still not linearizable. It
// must not get further than before then: what it would meet there has been left out.
History Shrink(History segment, const RegisterModel& model, const std::vector<State>& starts,
               uint64_t horizon) {
  constexpr size_t kMaxWork = 300'000;
  const auto cut = [](History* history, uint64_t end) {
    std::erase_if(*history, [end](const Operation& op) { return op.invoked > end; });
  };
  cut(&segment, horizon);
  size_t work = 0;
  for (size_t i = segment.size(); i-- > 0 && work < kMaxWork;) {
    if (i >= segment.size() || !IsRead(segment[i])) continue;
    History without = segment;
    without.erase(without.begin() + static_cast<std::ptrdiff_t>(i));
    Search search(without, model, kMaxWork);
    const bool stuck = search.Run(starts).empty() && !search.gave_up();
    work += search.configurations();
    if (!stuck || search.horizon() > horizon) continue;
    horizon = search.horizon();
    segment = std::move(without);
    cut(&segment, horizon);
  }
  return segment;
}

// `earlier`: the history up to the segment.
std::string Explain(const History& earlier, const History& segment, const RegisterModel& model,
                    const std::vector<State>& starts, uint64_t horizon) {
  constexpr size_t kContext = 12;
  const auto pointers = [](const History& history) {
    std::vector<const Operation*> all;
    for (const Operation& op : history) all.push_back(&op);
    return all;
  };
  std::string text = absl::StrCat("key ", segment.front().key, " is not linearizable",
                                  model.may_vanish ? " (entries may vanish)" : "", "\nbefore:\n");
  AppendLast(pointers(earlier), &text, kContext);
  absl::StrAppend(&text, "which leaves it ");
  for (size_t i = 0; i < starts.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : " or ", ToString(starts[i]));
  }
  const History small = Shrink(segment, model, starts, horizon);
  absl::StrAppend(&text, "\noperations [invoked, responded]:\n");
  AppendLast(pointers(small), &text);
  Search search(small, model, model.max_configurations);
  search.Run(starts);
  return text + search.DescribeDeepest();
}

// The first operation that neither follows its thread's previous one nor is another step of the
// same call, or nullptr.
const Operation* FindMalformed(const History& history) {
  std::map<int, const Operation*> last;
  for (const Operation& op : history) {
    const Operation*& previous = last[op.thread];
    if (op.responded <= op.invoked) return &op;
    if (previous != nullptr && op.invoked <= previous->responded) {
      if (op.invoked != previous->invoked || op.responded != previous->responded) return &op;
    }
    previous = &op;
  }
  return nullptr;
}

// Cuts a history sorted by invocation where everything before has responded.
std::vector<History> SplitAtQuiescentPoints(const History& history) {
  std::vector<History> segments;
  uint64_t busy_until = 0;
  for (const Operation& op : history) {
    if (segments.empty() || op.invoked > busy_until) segments.emplace_back();
    segments.back().push_back(op);
    busy_until = std::max(busy_until, op.responded);
  }
  return segments;
}

LinearizabilityResult CheckKey(History history, const RegisterModel& model) {
  LinearizabilityResult result;
  if (const Operation* op = FindMalformed(history); op != nullptr) {
    result.ok = false;
    result.explanation = absl::StrCat("malformed: key ", op->key, " ", ToString(*op),
                                      " does not follow its thread's previous operation");
    return result;
  }
  std::stable_sort(history.begin(), history.end(),
                   [](const Operation& a, const Operation& b) { return a.invoked < b.invoked; });
  std::vector<State> states = {{model.initial, std::nullopt}};
  History earlier;
  for (const History& segment : SplitAtQuiescentPoints(history)) {
    Search search(segment, model, model.max_configurations);
    std::vector<State> ends = search.Run(states);
    result.configurations += search.configurations();
    if (search.gave_up()) {
      result.ok = false;
      result.explanation = absl::StrCat("undecided: key ", segment.front().key, " gave up after ",
                                        search.configurations(), " configurations");
      return result;
    }
    if (ends.empty()) {
      result.ok = false;
      result.explanation = Explain(earlier, segment, model, states, search.horizon());
      return result;
    }
    states = std::move(ends);
    earlier.insert(earlier.end(), segment.begin(), segment.end());
  }
  return result;
}

}  // namespace

LinearizabilityResult CheckLinearizable(const History& history, const RegisterModel& model) {
  LinearizabilityResult result;
  for (const auto& [key, operations] : SplitByKey(history)) {
    LinearizabilityResult one = CheckKey(operations, model);
    result.configurations += one.configurations;
    if (!one.ok) {
      result.ok = false;
      absl::StrAppend(&result.explanation, one.explanation);
    }
  }
  return result;
}

}  // namespace larder::test
