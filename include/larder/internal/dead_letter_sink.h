// SPDX-License-Identifier: Apache-2.0
//
// DeadLetterSink: who is told of writes that failed for good.

#ifndef LARDER_INTERNAL_DEAD_LETTER_SINK_H_
#define LARDER_INTERNAL_DEAD_LETTER_SINK_H_

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "larder/codec.h"
#include "larder/dead_letter.h"
#include "larder/file_system.h"
#include "larder/internal/dead_letter_file.h"
#include "larder/internal/write_payload.h"
#include "larder/write_behind_options.h"

namespace larder::internal {

// The dead-letter file, if there is to be one, then the user's callback; without either a line on
// stderr, since an acknowledged write doesn't vanish without a word.
//
// Thread safety: all methods may be called from any thread, Open before all others.
template <class K, class V>
class DeadLetterSink {
 public:
  using Listener = std::function<void(const DeadLetter<K, V>&)>;

  // `listener` may be empty.
  DeadLetterSink(const WriteBehindOptions& options, Listener listener)
      : listener_(std::move(listener)) {
    if constexpr (kCodable) {
      if (options.dead_letter_path.empty()) return;
      FileSystem* const files = options.file_system;
      file_ = std::make_unique<DeadLetterFile>(options.dead_letter_path, WriteSchema<K, V>(),
                                               files == nullptr ? FileSystem::Default() : *files);
    }
  }

  // The file system's errors, where it can't have such a file.
  absl::Status Open() { return file_ == nullptr ? absl::OkStatus() : file_->Open(); }

  // Tells of a letter, for which *written says whether the file has it: then, or where telling it
  // again after an error, it isn't written again. Errors are the file system's; nobody was told
  // then. What a Codec refuses can't be written, and the letter's reason says so. Throws what the
  // listener throws.
  absl::Status Take(DeadLetter<K, V> letter, bool* written) {
    if (absl::Status status = Write(letter, written); !status.ok()) return status;
    if (listener_) {
      listener_(letter);
    } else if (!*written) {
      Print(letter);
    }
    return absl::OkStatus();
  }

  // Whether each letter is on the disk before anybody is told; else Sync sees to that.
  void set_syncs_each(bool syncs_each) { syncs_each_.store(syncs_each); }
  absl::Status Sync() { return file_ == nullptr ? absl::OkStatus() : file_->Sync(); }

 private:
  static constexpr bool kCodable = Codable<K> && Codable<V>;
  static constexpr int kMostLines = 100;

  absl::Status Write(DeadLetter<K, V>& letter, bool* written) {
    if constexpr (kCodable) {
      if (file_ == nullptr || *written) return absl::OkStatus();
      absl::StatusOr<std::string> payload =
          EncodeWrite(letter.key, letter.value.has_value() ? &*letter.value : nullptr);
      absl::Status status = payload.status();
      if (payload.ok()) {
        status = file_->Append({.id = letter.id,
                                .reason = letter.reason,
                                .attempts = letter.attempts,
                                .payload = *std::move(payload)});
        if (status.ok() && syncs_each_.load()) status = file_->Sync();
      }
      *written = status.ok();
      if (!payload.ok() || absl::IsInvalidArgument(status)) {
        letter.reason =
            absl::Status(letter.reason.code(),
                         absl::StrCat(letter.reason.message(),
                                      "; not in the dead-letter file: ", status.message()));
        return absl::OkStatus();
      }
      return status;
    }
    return absl::OkStatus();
  }

  void Print(const DeadLetter<K, V>& letter) {
    const int line = lines_.fetch_add(1);
    if (line > kMostLines) return;
    std::fprintf(stderr, "larder: queued write %llu, tried %d times, was dropped: %s%s\n",
                 static_cast<unsigned long long>(letter.id.sequence), letter.attempts,
                 letter.reason.ToString().c_str(),
                 line == kMostLines ? "; later ones aren't named here" : "");
  }

  const Listener listener_;
  std::unique_ptr<DeadLetterFile> file_;  // nullptr: none
  std::atomic<bool> syncs_each_{true};
  std::atomic<int> lines_{0};
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_DEAD_LETTER_SINK_H_
