// SPDX-License-Identifier: Apache-2.0

#include "larder/thread_pool.h"

#include <pthread.h>

#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "larder/internal/event.h"
#include "larder/internal/nanos.h"
#include "larder/internal/process_clock.h"
#include "src/background_thread.h"

namespace larder {

using internal::Event;
using internal::MutexLock;

// A thread and what the pool knows of it. Belongs to the pool's lock, all but `pool`.
struct ThreadPool::Worker {
  ThreadPool* pool;
  Task task = nullptr;  // what to run next; given by whoever starts or wakes the thread
  pthread_t thread{};
  Worker* next = nullptr;
  Worker* previous = nullptr;
  Worker* next_idle = nullptr;
  Event* woken = nullptr;  // while idle: of the thread, on its stack
};

namespace {

constexpr int kMostThreads = 4096;

}  // namespace

absl::Status ThreadPoolOptions::Validate() const {
  if (threads < 1 || threads > kMostThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads must be within 1..", kMostThreads, ", is ", threads));
  }
  if (idle_time <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("idle_time must be positive, is ", absl::FormatDuration(idle_time)));
  }
  return absl::OkStatus();
}

// All pools, so that a fork can find them. Locked for the whole of a fork: the child gets no pool
// that another thread was about to change.
struct ThreadPool::Forks {
  static void Add(ThreadPool* pool) {
    MutexLock lock(&mutex);
    [[maybe_unused]] static const int watches = pthread_atfork(&Before, &InParent, &InChild);
    pool->next_ = first;
    if (first != nullptr) first->previous_ = pool;
    first = pool;
  }

  static void Remove(ThreadPool* pool) {
    MutexLock lock(&mutex);
    if (pool->next_ != nullptr) pool->next_->previous_ = pool->previous_;
    (pool->previous_ != nullptr ? pool->previous_->next_ : first) = pool->next_;
  }

  // What these lock and unlock no analysis can follow.
  static void Before() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    mutex.lock();
    for (ThreadPool* pool = first; pool != nullptr; pool = pool->next_) pool->mutex_.lock();
  }
  static void InParent() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    for (ThreadPool* pool = first; pool != nullptr; pool = pool->next_) pool->mutex_.unlock();
    mutex.unlock();
  }
  static void InChild() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    for (ThreadPool* pool = first; pool != nullptr; pool = pool->next_) {
      pool->ForgetThreads(own != nullptr && own->pool == pool ? own : nullptr);
      pool->mutex_.unlock();
    }
    mutex.unlock();
  }

  static constinit internal::Mutex mutex;
  static constinit ThreadPool* first ABSL_GUARDED_BY(mutex);
  // The calling thread's, if it is a pool's.
  static constinit thread_local Worker* own;
};

constinit internal::Mutex ThreadPool::Forks::mutex;
constinit ThreadPool* ThreadPool::Forks::first = nullptr;
constinit thread_local ThreadPool::Worker* ThreadPool::Forks::own = nullptr;

absl::StatusOr<std::unique_ptr<ThreadPool>> ThreadPool::Create(ThreadPoolOptions options) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  std::unique_ptr<ThreadPool> pool(new ThreadPool(options));
  Forks::Add(pool.get());
  return pool;
}

ThreadPool::ThreadPool(const ThreadPoolOptions& options)
    : options_(options), idle_nanos_(internal::ToNanos(options.idle_time)) {}

ThreadPool::~ThreadPool() {
  Worker* all;
  {
    MutexLock lock(&mutex_);
    ending_ = true;
    for (; idle_ != nullptr; idle_ = idle_->next_idle) idle_->woken->Set();
    all = workers_;
  }
  // From here on none starts, and none leaves the list.
  for (Worker* worker = all; worker != nullptr; worker = worker->next) {
    pthread_join(worker->thread, nullptr);
  }
  Forks::Remove(this);
  DeleteAll(all);
  DropLost();
}

bool ThreadPool::Execute(Task task) {
  if (has_lost_.load(std::memory_order_relaxed)) [[unlikely]]
    DropLost();
  MutexLock lock(&mutex_);
  if (ending_) return false;
  if (Worker* const worker = idle_) {
    idle_ = worker->next_idle;
    worker->task = std::move(task);
    worker->woken->Set();
    return true;
  }
  return (threads_ < options_.threads && StartWorker(task)) || Enqueue(task);
}

int ThreadPool::threads() const {
  MutexLock lock(&mutex_);
  return threads_;
}

size_t ThreadPool::queued() const {
  MutexLock lock(&mutex_);
  return queue_.size();
}

// Where it fails `task` is as it was.
bool ThreadPool::StartWorker(Task& task) {
  std::unique_ptr<Worker> worker(new (std::nothrow) Worker{.pool = this});
  if (worker == nullptr) return false;
  worker->task = std::move(task);
  if (!internal::StartThread(&Run, worker.get(), &worker->thread)) {
    task = std::move(worker->task);
    return false;
  }
  worker->next = workers_;
  if (workers_ != nullptr) workers_->previous = worker.get();
  workers_ = worker.release();
  ++threads_;
  return true;
}

bool ThreadPool::Enqueue(Task& task) {
  if (threads_ == 0 || queue_.size() >= options_.queue_capacity) return false;
  try {
    queue_.push_back(std::move(task));
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

// A thread of the pool, from its start to its end.
void* ThreadPool::Run(void* argument) {
  Worker& worker = *static_cast<Worker*>(argument);
  Forks::own = &worker;
  Task task;
  {
    MutexLock lock(&worker.pool->mutex_);
    task = std::exchange(worker.task, nullptr);
  }
  do {
    std::move(task)();
    task = nullptr;
  } while (worker.pool->NextTask(worker, task));
  return nullptr;
}

// Waits for a task. False: the thread is to end, and neither `worker` nor the pool may be there.
bool ThreadPool::NextTask(Worker& worker, Task& task) {
  Event woken;
  {
    MutexLock lock(&mutex_);
    if (!queue_.empty()) {
      task = std::move(queue_.front());
      queue_.pop_front();
      return true;
    }
    if (ending_) return false;
    worker.woken = &woken;
    worker.next_idle = idle_;
    idle_ = &worker;
  }
  const int64_t now = internal::ProcessClock::NowNanos();
  woken.WaitUntil(internal::SaturatingAdd(now, idle_nanos_), nullptr);
  std::unique_ptr<Worker> leaving;
  MutexLock lock(&mutex_);
  // Who wakes a worker, under the lock, takes it off the list of idle ones.
  if (!woken.IsSet()) {
    leaving.reset(&worker);
    LeaveIdle(worker);
    Unlink(worker);
    --threads_;
    pthread_detach(worker.thread);
    Forks::own = nullptr;
    return false;
  }
  task = std::exchange(worker.task, nullptr);
  return task != nullptr;
}

void ThreadPool::LeaveIdle(Worker& worker) {
  Worker** link = &idle_;
  while (*link != &worker) link = &(*link)->next_idle;
  *link = worker.next_idle;
}

void ThreadPool::Unlink(Worker& worker) {
  if (worker.next != nullptr) worker.next->previous = worker.previous;
  (worker.previous != nullptr ? worker.previous->next : workers_) = worker.next;
  worker.next = nullptr;
  worker.previous = nullptr;
}

// In a child: there are no threads but, maybe, `own`, the one that forked. Destroys nothing: this
// is no place to run code of the user's.
void ThreadPool::ForgetThreads(Worker* own) {
  if (own != nullptr) Unlink(*own);
  // Workers and tasks come by Execute, which drops what was lost before: nothing is overwritten.
  if (workers_ != nullptr) lost_workers_ = workers_;
  if (!queue_.empty()) queue_.swap(lost_queue_);
  workers_ = own;
  threads_ = own != nullptr ? 1 : 0;
  idle_ = nullptr;
  has_lost_.store(lost_workers_ != nullptr || !lost_queue_.empty(), std::memory_order_relaxed);
}

void ThreadPool::DropLost() {
  Worker* workers;
  std::deque<Task> queue;
  {
    MutexLock lock(&mutex_);
    workers = std::exchange(lost_workers_, nullptr);
    queue.swap(lost_queue_);
    has_lost_.store(false, std::memory_order_relaxed);
  }
  DeleteAll(workers);
}

void ThreadPool::DeleteAll(Worker* first) {
  while (first != nullptr) delete std::exchange(first, first->next);
}

}  // namespace larder
