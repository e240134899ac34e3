// SPDX-License-Identifier: Apache-2.0
//
// ThreadPool: an Executor with a bounded number of threads and a bounded queue.

#ifndef LARDER_THREAD_POOL_H_
#define LARDER_THREAD_POOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/executor.h"
#include "larder/internal/mutex.h"

namespace larder {

struct ThreadPoolOptions {
  // The most threads at a time, 1 to 4096. More than there are processors: tasks mostly wait.
  int threads = 16;

  // How many tasks may wait for a thread. 0: a task finds a free thread or is refused.
  size_t queue_capacity = 1024;

  // A thread that has had nothing to do for this long ends. > 0; absl::InfiniteDuration() keeps
  // all.
  absl::Duration idle_time = absl::Seconds(30);

  // OK, or InvalidArgument naming the field and its value.
  absl::Status Validate() const;
};

// Tasks are started in the order in which they came. A thread is started for a task that finds none
// idle, up to the bound; of idle ones, the last to become so gets the next task. Where a thread
// can't be started, those that are there do the work (and a later task, for which one can, may come
// before what waits); where there are none, tasks are refused.
//
// The threads block the process's signals, save those that a thread causes itself.
//
// After fork() the child's pool has no threads (save the one that forked, if it is the pool's) and
// an empty queue: what waited in it is not run there, and is destroyed by the next call of Execute
// or the destructor. The pool then goes on as a new one.
//
// Thread safety: all methods may be called from any thread, also from inside a task.
class ThreadPool final : public Executor {
 public:
  // InvalidArgument if Validate() says so. Starts no thread.
  static absl::StatusOr<std::unique_ptr<ThreadPool>> Create(ThreadPoolOptions options);

  // Refuses tasks from now on, runs those that it has accepted, and joins its threads; it doesn't
  // wait for one that has just ended for having been idle. No other call may be under way, except
  // from inside tasks; not to be called from inside one.
  ~ThreadPool() override;

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  bool Execute(absl::AnyInvocable<void() &&> task) override;

  // How many threads there are, and how many tasks wait for one.
  int threads() const;
  size_t queued() const;

 private:
  struct Worker;
  struct Forks;
  using Task = absl::AnyInvocable<void() &&>;

  explicit ThreadPool(const ThreadPoolOptions& options);

  static void* Run(void* worker);
  static void DeleteAll(Worker* first);
  bool NextTask(Worker& worker, Task& task);
  bool StartWorker(Task& task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Enqueue(Task& task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LeaveIdle(Worker& worker) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Unlink(Worker& worker) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetThreads(Worker* own) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropLost();

  const ThreadPoolOptions options_;
  const int64_t idle_nanos_;

  mutable internal::Mutex mutex_;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  int threads_ ABSL_GUARDED_BY(mutex_) = 0;
  Worker* workers_ ABSL_GUARDED_BY(mutex_) = nullptr;  // all of them
  Worker* idle_ ABSL_GUARDED_BY(mutex_) = nullptr;     // the last to become idle first
  std::deque<Task> queue_ ABSL_GUARDED_BY(mutex_);     // empty while a worker is idle

  // What a child has of its parent's.
  std::atomic<bool> has_lost_{false};
  Worker* lost_workers_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::deque<Task> lost_queue_ ABSL_GUARDED_BY(mutex_);

  // The list of all pools; belongs to its lock.
  ThreadPool* previous_ = nullptr;
  ThreadPool* next_ = nullptr;
};

}  // namespace larder

#endif  // LARDER_THREAD_POOL_H_
