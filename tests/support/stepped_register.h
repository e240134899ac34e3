// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_STEPPED_REGISTER_H_
#define LARDER_TESTS_SUPPORT_STEPPED_REGISTER_H_

#include <cstdint>
#include <functional>
#include <iterator>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "tests/support/history.h"

namespace larder::test {

// One key of a cache whose operations are lists of indivisible steps, so that threads can be
// simulated: a scheduler with a seed picks whose step comes next, and every interleaving that it
// finds can be had again. This one is correct: where several steps touch shared state, one alone
// decides. Tests derive broken ones from it.
class SteppedRegister {
 public:
  // What one call has found out so far.
  struct Call {
    Operation operation;
    uint64_t load_began = 0;  // not 0: this call runs the loader
    uint64_t load_ended = 0;
    std::function<uint64_t()> now;
  };
  using Steps = std::vector<std::function<void(Call&)>>;

  virtual ~SteppedRegister() = default;

  virtual Steps Get() {
    return {[this](Call& call) { call.operation.before = value_; }};
  }
  virtual Steps Put() {
    return {[this](Call& call) { Write(call.operation.after); }};
  }
  virtual Steps PutIfAbsent() {
    return {[this](Call& call) {
      call.operation.result = !value_.has_value();
      if (call.operation.result) Write(call.operation.after);
    }};
  }
  virtual Steps Erase() {
    return {[this](Call& call) {
      call.operation.result = value_.has_value();
      Write(std::nullopt);
    }};
  }
  // Reads, then writes if nobody else wrote in between, and starts again otherwise.
  virtual Steps Compute() {
    return {[this](Call& call) { call.operation.before = value_; },
            [this](Call& call) {
              call.operation.before = value_;
              Write(call.operation.after);
            }};
  }
  // The first step finds the value or joins a load; otherwise it registers its own load, which the
  // last one stores unless a write has made it void. The loader takes long, to be overtaken.
  virtual Steps GetOrLoad() {
    Steps steps(10, [](Call&) {});
    steps.front() = [this](Call& call) { FindOrRegister(call); };
    steps.push_back([this](Call& call) {
      if (call.load_began == 0) return;
      call.load_ended = call.now();
      Store(*call.operation.after);
    });
    return steps;
  }
  // Happens between steps now and then, on no thread's behalf.
  virtual void Background() {}

 protected:
  virtual void Write(std::optional<uint64_t> value) {
    value_ = value;
    flight_.reset();
  }
  virtual void Store(uint64_t loaded) {
    if (flight_ != loaded) return;
    value_ = loaded;
    flight_.reset();
  }

  void FindOrRegister(Call& call) {
    call.operation.before = value_.has_value() ? value_ : flight_;
    if (call.operation.before.has_value()) return;
    flight_ = call.operation.after;
    call.load_began = call.now();
  }

  std::optional<uint64_t> value_;
  std::optional<uint64_t> flight_;
};

// Lets simulated threads run random operations on a register, one step at a time, and returns what
// they saw. The same seed gives the same history.
class SteppedScheduler {
 public:
  SteppedScheduler(SteppedRegister* target, int threads, int operations_each, uint64_t seed)
      : target_(*target),
        recorder_(threads, static_cast<size_t>(operations_each)),
        threads_(static_cast<size_t>(threads), {.left = operations_each, .call = {}, .steps = {}}),
        random_(seed) {}

  History Run() {
    for (size_t running = threads_.size(); running > 0;) {
      if (random_() % 4 == 0) target_.Background();
      const size_t index = random_() % threads_.size();
      Thread& thread = threads_[index];
      if (thread.call.operation.invoked == 0) {
        if (thread.left > 0) Begin(static_cast<int>(index), thread);
      } else if (thread.next_step < thread.steps.size()) {
        thread.steps[thread.next_step++](thread.call);
      } else {
        End(recorder_.log(static_cast<int>(index)), thread);
        if (thread.left == 0) --running;
      }
    }
    return recorder_.Collect();
  }

 private:
  struct Thread {
    int left;
    SteppedRegister::Call call;
    SteppedRegister::Steps steps;
    size_t next_step = 0;
  };

  void Begin(int index, Thread& thread) {
    constexpr OpKind kKinds[] = {OpKind::kGet,      OpKind::kGet,         OpKind::kPut,
                                 OpKind::kErase,    OpKind::kPutIfAbsent, OpKind::kCompute,
                                 OpKind::kGetOrLoad};
    ThreadLog& log = recorder_.log(index);
    --thread.left;
    thread.next_step = 0;
    thread.call = {};
    thread.call.now = [&log] { return log.Now(); };
    thread.call.operation.kind = kKinds[random_() % std::size(kKinds)];
    thread.call.operation.after = ++last_value_;
    thread.call.operation.invoked = log.Now();
    thread.steps = StepsOf(thread.call.operation.kind);
  }

  SteppedRegister::Steps StepsOf(OpKind kind) {
    switch (kind) {
      case OpKind::kPut:
        return target_.Put();
      case OpKind::kPutIfAbsent:
        return target_.PutIfAbsent();
      case OpKind::kErase:
        return target_.Erase();
      case OpKind::kCompute:
        return target_.Compute();
      case OpKind::kGetOrLoad:
        return target_.GetOrLoad();
      default:
        return target_.Get();
    }
  }

  static void End(ThreadLog& log, Thread& thread) {
    const Operation& op = thread.call.operation;
    switch (op.kind) {
      case OpKind::kPut:
        log.Put(op.key, op.invoked, *op.after);
        break;
      case OpKind::kPutIfAbsent:
        log.PutIfAbsent(op.key, op.invoked, *op.after, op.result);
        break;
      case OpKind::kErase:
        log.Erase(op.key, op.invoked, op.result);
        break;
      case OpKind::kCompute:
        log.Compute(op.key, op.invoked, op.before, op.after);
        break;
      case OpKind::kGetOrLoad:
        if (thread.call.load_began != 0) {
          log.Load(op.key, op.invoked, thread.call.load_began, thread.call.load_ended, *op.after,
                   /*ok=*/true);
        } else {
          log.GetOrLoad(op.key, op.invoked, *op.before);
        }
        break;
      default:
        log.Get(op.key, op.invoked, op.before);
    }
    thread.call.operation.invoked = 0;
  }

  SteppedRegister& target_;
  HistoryRecorder recorder_;
  std::vector<Thread> threads_;
  std::mt19937_64 random_;
  uint64_t last_value_ = 0;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_STEPPED_REGISTER_H_
