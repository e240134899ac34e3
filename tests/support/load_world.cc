// SPDX-License-Identifier: Apache-2.0
#include "tests/support/load_world.h"

#include "absl/status/status.h"
#include "absl/strings/str_join.h"

namespace larder::test {
namespace {

constexpr int kSteps = 100;
constexpr int kDeepest = 2;

// Notes that it was destroyed: with the task that it was to run in, or with its call.
class LoaderGuard {
 public:
  LoaderGuard(std::vector<int>* gone, int call) : gone_(gone), call_(call) {}
  LoaderGuard(LoaderGuard&& other) noexcept
      : gone_(std::exchange(other.gone_, nullptr)), call_(other.call_) {}
  LoaderGuard& operator=(LoaderGuard&&) = delete;
  ~LoaderGuard() {
    if (gone_ != nullptr) gone_->push_back(call_);
  }

 private:
  std::vector<int>* gone_;
  int call_;
};

}  // namespace

struct LoadWorld::OpenLoad {
  int call;
  AsyncLoad<uint64_t> load;
};

// Goes on with the world's steps while it loads.
class LoadWorld::SyncLoader {
 public:
  SyncLoader(LoadWorld* world, int call)
      : world_(world), call_(call), guard_(&world->gone_, call) {}

  absl::StatusOr<Loaded<uint64_t>> operator()(const std::string&, LoadContext<uint64_t>& context) {
    const bool stop = context.stop_token().stop_requested();
    if (!world_->BeginLoad(call_, /*nested=*/true, context.old_value(), stop)) {
      return absl::InternalError("this load must not run");
    }
    ++world_->depth_;
    for (uint64_t i = world_->Draw(4); i > 0 && world_->broken_.empty(); --i) world_->Step(true);
    --world_->depth_;
    const LoadEnd end = world_->DrawEnd(context.old_value() != nullptr);
    world_->ends_.emplace_back(call_, end);
    switch (end.kind) {
      case LoadEnd::Kind::kValue:
        return Loaded<uint64_t>{.value = end.value, .ttl = end.ttl, .tags = end.tags};
      case LoadEnd::Kind::kNotFound:
        return absl::NotFoundError("no such key");
      case LoadEnd::Kind::kNotModified:
        return context.NotModified(end.ttl);
      default:
        return absl::UnavailableError("down");
    }
  }

 private:
  LoadWorld* world_;
  int call_;
  LoaderGuard guard_;
};

// Leaves the load to be ended by a later step.
class LoadWorld::LaterLoader {
 public:
  LaterLoader(LoadWorld* world, int call)
      : world_(world), call_(call), guard_(&world->gone_, call) {}

  void operator()(const std::string&, AsyncLoad<uint64_t> load) {
    const bool stop = load.stop_token().stop_requested();
    if (!world_->BeginLoad(call_, /*nested=*/false, load.old_value(), stop)) return;
    OpenLoad open{call_, std::move(load)};
    if (world_->OneIn(6)) return world_->EndOpen(std::move(open));
    world_->open_.push_back(std::move(open));
  }

 private:
  LoadWorld* world_;
  int call_;
  LoaderGuard guard_;
};

LoadWorld::LoadWorld(uint64_t seed, MakeCache make_cache)
    : random_(seed), seed_(seed), clock_(std::make_unique<ManualClock>(1'000'000'000)) {
  const WorldCache::Inner::Options options = DrawOptions();
  options_ = options;
  model_ = std::make_unique<LoadModel>(options, *clock_);
  cache_ = make_cache(options);
}

LoadWorld::~LoadWorld() = default;

std::unique_ptr<WorldCache> LoadWorld::MakeRealCache(const WorldCache::Inner::Options& options) {
  return std::make_unique<WorldCache>(options);
}

std::string LoadWorld::Explanation() const {
  return absl::StrCat("LARDER_TEST_SEED=", seed_, ": ", broken_, "\n", absl::StrJoin(trace_, "\n"));
}

// --- Steps.

void LoadWorld::Step(bool nested) {
  const uint64_t kind = Draw(24);
  if (kind < 6) {
    Ask();
  } else if (kind < 9 || kind >= 20) {
    nested&& depth_ >= kDeepest ? PassTime() : RunTask();
  } else if (kind < 12) {
    EndSomeLoad();
  } else if (kind < 14) {
    PassTime();
  } else if (kind < 16) {
    Maintain();
  } else if (kind == 16) {
    PutSomething(/*only_if_absent=*/OneIn(3));
  } else if (executor_.refusing || (kind == 17 && OneIn(4))) {
    executor_.refusing = !executor_.refusing;
    model_->set_refusing(executor_.refusing);
    Trace(executor_.refusing ? "tasks are refused" : "tasks are accepted");
  } else {
    Invalidate(Draw(11));
  }
  if (broken_.empty()) Check();
}

void LoadWorld::Ask() {
  const int call = calls_++;
  const std::string key = DrawKey();
  const LoadOptions options = DrawLoadOptions();
  const bool later = OneIn(2);
  Trace("call ", call, " asks for ", key, later ? " asynchronously" : "");
  answers_[call];
  const auto callback = [this, call](WorldCache::Result result) {
    CallAnswer answer{.code = result.status().code()};
    if (result.ok()) {
      answer.value = result->value;
      answer.source = result->source;
      answer.age = result->age;
    }
    Trace("call ", call, " is answered ", answer.ToString());
    answers_[call].push_back(answer);
  };
  if (later) {
    cache_->LoadLater(key, LaterLoader(this, call), callback, options);
  } else {
    cache_->Load(key, SyncLoader(this, call), callback, options);
  }
  model_->Ask(call, key, options);
}

void LoadWorld::PassTime() {
  const absl::Duration time = OneIn(2)   ? absl::Microseconds(1 + Draw(900))
                              : OneIn(2) ? absl::Milliseconds(1)
                                         : DrawTime();
  clock_->Advance(time);
  Trace("time passes: ", absl::FormatDuration(time));
}

void LoadWorld::Maintain() {
  Trace("maintenance");
  cache_->RunMaintenance();
  model_->RunAlarms();
}

// Any one of those that wait. What it finds out about a synchronous loader's end is told to the
// model only afterwards, when the cache has dealt with it.
void LoadWorld::RunTask() {
  if (executor_.tasks.empty()) return;
  const auto chosen = executor_.tasks.begin() + static_cast<int64_t>(Draw(executor_.tasks.size()));
  Trace("a task of ", executor_.tasks.size());
  {
    auto task = std::move(*chosen);
    executor_.tasks.erase(chosen);
    gone_.clear();
    const size_t ends = ends_.size();
    std::move(task)();
    if (ends_.size() > ends) {
      const auto [call, end] = ends_.back();
      ends_.pop_back();
      EndLoad(call, end);
    }
  }
  if (!closed_) {
    for (const int call : std::exchange(gone_, {})) model_->TaskGone(call);
  }
}

void LoadWorld::EndSomeLoad() {
  if (open_.empty()) return;
  const auto chosen = open_.begin() + static_cast<int64_t>(Draw(open_.size()));
  OpenLoad open = std::move(*chosen);
  open_.erase(chosen);
  EndOpen(std::move(open));
}

// --- Loads.

bool LoadWorld::BeginLoad(int call, bool nested, const uint64_t* old, bool stop) {
  Trace("load ", call, " begins");
  if (closed_) {
    Broken("load ", call, " began after the cache's end");
    return false;
  }
  if (!model_->Begin(call, nested)) {
    Broken("load ", call, " must not begin");
    return false;
  }
  const std::optional<uint64_t> seen = old != nullptr ? std::optional(*old) : std::nullopt;
  if (seen != model_->OldValueOf(call)) Broken("load ", call, " has old ", seen.value_or(0));
  if (stop != model_->IsToldToStop(call)) Broken("load ", call, " is told to stop: ", stop);
  return true;
}

void LoadWorld::EndOpen(OpenLoad open) {
  const uint64_t* const old = open.load.old_value();
  const LoadEnd end = DrawEnd(old != nullptr);
  const bool stop = open.load.stop_token().stop_requested();
  if (stop != model_->IsToldToStop(open.call)) Broken("load ", open.call, " was told: ", stop);
  switch (end.kind) {
    case LoadEnd::Kind::kValue:
      open.load.Finish(Loaded<uint64_t>{.value = end.value, .ttl = end.ttl, .tags = end.tags});
      break;
    case LoadEnd::Kind::kNotFound:
      open.load.Finish(absl::NotFoundError("no such key"));
      break;
    case LoadEnd::Kind::kNotModified:
      open.load.FinishNotModified(end.ttl);
      break;
    default:
      open.load.Finish(absl::UnavailableError("down"));
      break;
  }
  EndLoad(open.call, end);
}

void LoadWorld::EndLoad(int call, const LoadEnd& end) {
  static constexpr const char* kKinds[] = {"a value", "not found", "not modified", "a failure"};
  Trace("load ", call, " ends with ", kKinds[static_cast<int>(end.kind)], " ", end.value, " ",
        absl::StrJoin(end.tags, ","));
  if (closed_) return;
  model_->End(call, end, [this, call] { return cache_->Contains(model_->KeyOf(call)); });
}

// --- The end.

bool LoadWorld::Run() {
  for (uint64_t i = kSteps / 2 + Draw(kSteps); i > 0 && broken_.empty(); --i)
    Step(/*nested=*/false);
  if (broken_.empty() && OneIn(2)) Settle();
  if (broken_.empty()) CheckStats();
  Destroy();
  return broken_.empty();
}

// Until nothing is under way.
void LoadWorld::Settle() {
  Trace("all comes to rest");
  while (broken_.empty() && (!executor_.tasks.empty() || !open_.empty())) {
    OneIn(2) ? RunTask() : EndSomeLoad();
    if (broken_.empty()) Check();
  }
  if (broken_.empty() && model_->AnyInFlight()) Broken("a load is in flight, and nobody ends it");
}

void LoadWorld::Destroy() {
  if (options_.loads_at_close == LoadsAtClose::kWait) {
    // Nobody else would.
    while (!open_.empty()) EndSomeLoad();
  }
  Trace("the cache is destroyed");
  closed_ = true;
  cache_.reset();
  model_->Close();
  if (broken_.empty()) CheckCalls();
  clock_.reset();
  while (!executor_.tasks.empty() || !open_.empty()) OneIn(2) ? RunTask() : EndSomeLoad();
  if (broken_.empty()) CheckCalls();
}

// --- Checks.

void LoadWorld::Check() {
  CheckCalls();
  for (const char* key : kKeys) {
    const std::optional<uint64_t> seen = cache_->Get(key);
    const std::optional<uint64_t> expected = model_->Get(key);
    if (seen != expected) {
      Broken(key, " has ", seen.value_or(0), " in place of ", expected.value_or(0));
    }
  }
  if (depth_ > 0 || model_->AnyInFlight() || !OneIn(4)) return;
  const absl::Status status = cache_->CheckInvariants();
  if (!status.ok()) Broken(status.ToString());
}

void LoadWorld::CheckCalls() {
  const bool idle = executor_.tasks.empty();
  for (const auto& [call, answers] : answers_) {
    const std::optional<CallAnswer>& expected = model_->AnswerOf(call);
    if (answers.size() > 1) Broken("call ", call, " is answered ", answers.size(), " times");
    if (answers.empty()) {
      if (idle && expected.has_value()) {
        Broken("call ", call, " has no answer, should have ", expected->ToString());
      }
    } else if (!expected.has_value()) {
      Broken("call ", call, " should have no answer yet");
    } else if (answers[0] != *expected) {
      Broken("call ", call, " should be answered ", expected->ToString());
    }
  }
  if (idle && !closed_ && model_->SomeTaskMustRun()) Broken("a load doesn't begin");
}

void LoadWorld::CheckStats() {
  const CacheStats stats = cache_->Stats();
  const LoadModel::Counts& counts = model_->counts();
  const auto same = [this](const char* name, uint64_t seen, uint64_t expected) {
    if (seen != expected) Broken("stats.", name, " is ", seen, " in place of ", expected);
  };
  same("joined", stats.joined, counts.joined);
  same("stale", stats.stale, counts.stale);
  same("timeouts", stats.timeouts, counts.timeouts);
  same("negative_hits", stats.negative_hits, counts.negative_hits);
  same("refreshes", stats.refreshes, counts.refreshes);
  same("refresh_failures", stats.refresh_failures, counts.refresh_failures);
  same("not_modified", stats.not_modified, counts.not_modified);
  same("loads", stats.loads, counts.loads);
}

}  // namespace larder::test
