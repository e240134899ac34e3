// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/alarms.h"

#include <pthread.h>

#include <atomic>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "larder/internal/event.h"
#include "larder/internal/mutex.h"
#include "larder/internal/node.h"
#include "larder/internal/process_clock.h"
#include "src/background_thread.h"

namespace larder::internal {

// The process's thread, and all Alarms there are, whatever their clock: a fork has to find them.
// The lock is held for the whole of a fork, and the locks of all Alarms, so that the child gets
// none that another thread was about to change.
class Alarms::Thread {
 public:
  static void Add(State& state);
  static void Remove(State& state);

  // An alarm for `deadline` was set, before all others of `state`: the thread shall know.
  static void Notice(State& state, int64_t deadline);

  static bool Running() { return running.load(std::memory_order_relaxed); }
  // Starts the thread, should it not be running and be needed.
  static void KeepRunning();

  // Whether the caller is that thread.
  static constinit thread_local bool is_this;

  static constinit Mutex mutex;

 private:
  static void Launch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  static void* Run(void*);
  static State* Next() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  static void Wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  static void BeforeFork();
  static void AfterForkInParent();
  static void AfterForkInChild();

  static constinit State* first ABSL_GUARDED_BY(mutex);
  static constinit int timed ABSL_GUARDED_BY(mutex);  // how many need the thread
  static constinit std::atomic<bool> running;         // changed under the lock
  // While it sleeps: what wakes it, on its stack, and when it wakes of itself.
  static constinit Event* sleeper ABSL_GUARDED_BY(mutex);
  static constinit int64_t sleeps_until ABSL_GUARDED_BY(mutex);
};

class Alarms::State : public std::enable_shared_from_this<State> {
 public:
  explicit State(const Clock* clock) : clock_(clock == &Clock::Monotonic() ? nullptr : clock) {}

  bool on_process_clock() const { return clock_ == nullptr; }
  int64_t Now() const { return on_process_clock() ? ProcessClock::NowNanos() : clock_->NowNanos(); }

  // The deadline of the next alarm, if there is one that comes before kNever.
  int64_t earliest() const { return earliest_.load(std::memory_order_relaxed); }
  bool empty() const { return empty_.load(std::memory_order_relaxed); }

  Id Set(int64_t deadline, Task task);
  bool Cancel(Id id);
  // Runs the next alarm if it is due at `now`.
  bool RunNext(int64_t now);
  void Close();

 private:
  friend class Thread;

  void Changed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TaskEnded();

  const Clock* const clock_;

  Mutex mutex_;
  std::map<Id, Task> alarms_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  int in_thread_ ABSL_GUARDED_BY(mutex_) = 0;  // tasks, nested, that the thread is running
  Event* task_ended_ ABSL_GUARDED_BY(mutex_) = nullptr;  // whoever waits for its end
  // What alarms_ has, for those who don't have the lock.
  std::atomic<int64_t> earliest_{kNever};
  std::atomic<bool> empty_{true};

  State* previous_ ABSL_GUARDED_BY(Thread::mutex) = nullptr;
  State* next_ ABSL_GUARDED_BY(Thread::mutex) = nullptr;
  bool listed_ ABSL_GUARDED_BY(Thread::mutex) = false;
  bool timed_ ABSL_GUARDED_BY(Thread::mutex) = false;  // counted in Thread::timed
};

constinit thread_local bool Alarms::Thread::is_this = false;
constinit Mutex Alarms::Thread::mutex;
constinit Alarms::State* Alarms::Thread::first = nullptr;
constinit int Alarms::Thread::timed = 0;
constinit std::atomic<bool> Alarms::Thread::running{false};
constinit Event* Alarms::Thread::sleeper = nullptr;
constinit int64_t Alarms::Thread::sleeps_until = 0;

// --- One cache's alarms.

Alarms::Id Alarms::State::Set(int64_t deadline, Task task) {
  Id id;
  bool is_next;
  {
    MutexLock lock(&mutex_);
    if (closed_) return id;
    id = {.deadline = deadline, .sequence = ++last_sequence_};
    alarms_.emplace(id, std::move(task));
    is_next = deadline < earliest();
    Changed();
  }
  if (!on_process_clock()) return id;
  if (is_next) {
    Thread::Notice(*this, deadline);
  } else {
    Thread::KeepRunning();
  }
  return id;
}

bool Alarms::State::Cancel(Id id) {
  decltype(alarms_)::node_type cancelled;
  MutexLock lock(&mutex_);
  cancelled = alarms_.extract(id);
  Changed();
  return !cancelled.empty();
}

bool Alarms::State::RunNext(int64_t now) {
  // One at kNever isn't the earliest, so never due.
  if (earliest() == kNever || earliest() > now) return false;
  {
    decltype(alarms_)::node_type alarm;
    {
      MutexLock lock(&mutex_);
      if (earliest() == kNever || earliest() > now) return false;
      alarm = alarms_.extract(alarms_.begin());
      Changed();
      if (Thread::is_this) ++in_thread_;
    }
    std::move(alarm.mapped())();
  }
  if (Thread::is_this) TaskEnded();
  return true;
}

void Alarms::State::TaskEnded() {
  MutexLock lock(&mutex_);
  if (--in_thread_ == 0 && task_ended_ != nullptr) task_ended_->Set();
}

void Alarms::State::Close() {
  Thread::Remove(*this);
  Event task_ended;
  bool wait;
  decltype(alarms_) left;
  {
    MutexLock lock(&mutex_);
    closed_ = true;
    left.swap(alarms_);
    Changed();
    wait = in_thread_ != 0 && !Thread::is_this;
    if (wait) task_ended_ = &task_ended;
  }
  if (wait) task_ended.Wait();
}

void Alarms::State::Changed() {
  empty_.store(alarms_.empty(), std::memory_order_relaxed);
  earliest_.store(alarms_.empty() ? kNever : alarms_.begin()->first.deadline,
                  std::memory_order_relaxed);
}

// --- The process's thread.

void Alarms::Thread::Add(State& state) {
  MutexLock lock(&mutex);
  [[maybe_unused]] static const int watches =
      pthread_atfork(&BeforeFork, &AfterForkInParent, &AfterForkInChild);
  state.next_ = first;
  if (first != nullptr) first->previous_ = &state;
  first = &state;
  state.listed_ = true;
}

void Alarms::Thread::Remove(State& state) {
  MutexLock lock(&mutex);
  if (state.next_ != nullptr) state.next_->previous_ = state.previous_;
  (state.previous_ != nullptr ? state.previous_->next_ : first) = state.next_;
  state.listed_ = false;
  if (state.timed_ && --timed == 0) Wake();
}

void Alarms::Thread::Notice(State& state, int64_t deadline) {
  MutexLock lock(&mutex);
  if (!state.listed_) return;  // it is being destroyed
  if (!std::exchange(state.timed_, true)) ++timed;
  if (!Running()) Launch();
  if (deadline < sleeps_until) Wake();
}

void Alarms::Thread::KeepRunning() {
  if (Running()) return;
  MutexLock lock(&mutex);
  if (!Running() && timed != 0) Launch();
}

void Alarms::Thread::Launch() {
  pthread_t thread;
  if (!StartThread(&Run, nullptr, &thread)) return;
  pthread_detach(thread);
  running.store(true, std::memory_order_relaxed);
}

void Alarms::Thread::Wake() {
  if (sleeper != nullptr) std::exchange(sleeper, nullptr)->Set();
}

Alarms::State* Alarms::Thread::Next() {
  State* next = nullptr;
  for (State* state = first; state != nullptr; state = state->next_) {
    if (!state->on_process_clock()) continue;
    if (next == nullptr || state->earliest() < next->earliest()) next = state;
  }
  return next;
}

void* Alarms::Thread::Run(void*) {
  is_this = true;
  for (;;) {
    std::shared_ptr<State> due;
    const int64_t now = ProcessClock::NowNanos();
    Event woken;
    int64_t next_time;
    {
      MutexLock lock(&mutex);
      if (timed == 0) {
        running.store(false, std::memory_order_relaxed);
        return nullptr;
      }
      State* const next = Next();
      next_time = next->earliest();
      if (next_time <= now) {
        due = next->shared_from_this();
      } else {
        sleeper = &woken;
        sleeps_until = next_time;
      }
    }
    if (due != nullptr) {
      due->RunNext(now);
    } else {
      woken.WaitUntil(next_time, nullptr);
      MutexLock lock(&mutex);
      sleeper = nullptr;
    }
  }
}

// What these lock and unlock no analysis can follow.
void Alarms::Thread::BeforeFork() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  mutex.lock();
  for (State* state = first; state != nullptr; state = state->next_) state->mutex_.lock();
}
void Alarms::Thread::AfterForkInParent() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  for (State* state = first; state != nullptr; state = state->next_) state->mutex_.unlock();
  mutex.unlock();
}
void Alarms::Thread::AfterForkInChild() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  // A task that forks is, in the child, still one of this thread's.
  if (!is_this) {
    running.store(false, std::memory_order_relaxed);
    sleeper = nullptr;
  }
  for (State* state = first; state != nullptr; state = state->next_) {
    if (!is_this) state->in_thread_ = 0;
    state->mutex_.unlock();
  }
  mutex.unlock();
}

// --- Alarms.

Alarms::Alarms(const Clock* clock) : state_(std::make_shared<State>(clock)) {
  Thread::Add(*state_);
}

Alarms::~Alarms() { state_->Close(); }

Alarms::Id Alarms::Set(int64_t deadline_nanos, Task task) {
  return state_->Set(deadline_nanos, std::move(task));
}

bool Alarms::Cancel(Id id) { return state_->Cancel(id); }

size_t Alarms::RunDue(size_t budget) {
  if (state_->earliest() == kNever) return 0;
  if (state_->on_process_clock()) Thread::KeepRunning();
  const int64_t now = state_->Now();
  if (state_->earliest() > now) return 0;
  const std::shared_ptr<State> state = state_;
  size_t ran = 0;
  while (ran < budget && state->RunNext(now)) ++ran;
  return ran;
}

bool Alarms::empty() const { return state_->empty(); }

}  // namespace larder::internal
