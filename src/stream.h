// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_STREAM_H_
#define LARDER_SRC_STREAM_H_

#include <sys/uio.h>

#include <cstddef>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "src/socket.h"

namespace larder::internal {

// A connection on a stream socket: its bytes as they are, or what lies between (TlsStream).
//
// No call waits, and none raises SIGPIPE. One thread may receive while another one sends.
class Stream {
 public:
  // Receive has to be given as much room, so that nothing stays behind of which poll(2) doesn't
  // know: the longest record of TLS.
  static constexpr size_t kReceiveBytes = size_t{16} << 10;

  // `fd`: connected, non-blocking.
  explicit Stream(ScopedFd fd) : fd_(std::move(fd)) {}
  virtual ~Stream() = default;

  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // To wait on: for writing after Send took less than it was given, for reading after Receive had
  // nothing.
  int fd() const { return fd_.get(); }

  // Sends the first bytes of `parts`, and returns how many. What was not taken has to come first
  // the next time. Unavailable, with the reason, if the connection is lost; what the other end said
  // before can still be received.
  virtual absl::StatusOr<size_t> Send(absl::Span<const iovec> parts);
  // The same, of a single part.
  absl::StatusOr<size_t> SendOne(std::string_view part) {
    const iovec whole = {const_cast<char*>(part.data()), part.size()};
    return Send(absl::MakeConstSpan(&whole, 1));
  }

  // Fills the first bytes of `buffer`, of kReceiveBytes or more, and returns how many; 0 if nothing
  // has arrived. Unavailable, with the reason, if the connection is lost or the other end closed
  // it.
  virtual absl::StatusOr<size_t> Receive(absl::Span<char> buffer);

  // Whether a connection on which nothing is awaited is closed, or holds bytes nobody asked for.
  virtual bool IsStale();

  // Nothing more will be sent.
  void ShutDownSending();

 private:
  const ScopedFd fd_;
};

}  // namespace larder::internal

#endif  // LARDER_SRC_STREAM_H_
