// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_TLS_STREAM_H_
#define LARDER_SRC_TLS_STREAM_H_

#include <openssl/ssl.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "larder/internal/mutex.h"
#include "larder/tls_options.h"
#include "src/deadline.h"
#include "src/socket.h"
#include "src/stream.h"

namespace larder::internal {

// A Stream whose bytes OpenSSL encrypts. OpenSSL wants one caller at a time: whoever sends and
// whoever receives take turns, for a record each, the latter first.
class TlsStream : public Stream {
 public:
  // Shakes hands with the server at the other end of `fd`, connected and non-blocking, which was
  // asked for as `host`. Unauthenticated if the server can't prove who it is; Unavailable if there
  // is no agreement, or the connection is lost; DeadlineExceeded if it takes longer;
  // InvalidArgument, of `options`.
  static absl::StatusOr<std::unique_ptr<Stream>> Connect(ScopedFd fd, const TlsOptions& options,
                                                         const std::string& host,
                                                         Deadline deadline);
  ~TlsStream() override;

  absl::StatusOr<size_t> Send(absl::Span<const iovec> parts) override;
  absl::StatusOr<size_t> Receive(absl::Span<char> buffer) override;
  bool IsStale() override;

 private:
  struct SslDeleter {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  // The error queue of the calling thread, which OpenSSL wants empty before a call, and the next
  // user of OpenSSL afterwards.
  struct ErrorQueue {
    ErrorQueue();
    ~ErrorQueue();
  };

  explicit TlsStream(ScopedFd fd);

  // `name`: of the server.
  absl::Status Prepare(SSL_CTX* context, const std::string& name);
  absl::Status ShakeHands(const std::string& name, Deadline deadline);

  // What the `result` of a call of OpenSSL means: one of SSL_get_error's.
  int ErrorOf(int result) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Unavailable, with the reason for an error of `kind`. If OpenSSL can't go on, that is the reason
  // of all later ones.
  absl::Status Lost(int kind) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  static const BIO_METHOD* SocketMethod();
  static int Write(BIO* bio, const char* data, int size);
  static int Read(BIO* bio, char* data, int size);
  static long Control(BIO* bio, int command, long, void*);

  std::atomic<bool> receiver_waits_{false};  // for the lock
  Mutex mutex_;
  absl::Status socket_lost_;  // how a call of the socket failed; written in ssl_'s calls
  std::unique_ptr<SSL, SslDeleter> ssl_ ABSL_GUARDED_BY(mutex_);
  absl::Status lost_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace larder::internal

#endif  // LARDER_SRC_TLS_STREAM_H_
