// SPDX-License-Identifier: Apache-2.0
#include "src/tls_stream.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>

#include <cassert>
#include <thread>
#include <utility>

#include "src/text.h"
#include "src/tls_context.h"

namespace larder::internal {
namespace {

bool IsAddress(const std::string& host) {
  unsigned char address[sizeof(in6_addr)];
  return inet_pton(AF_INET, host.c_str(), address) == 1 ||
         inet_pton(AF_INET6, host.c_str(), address) == 1;
}

// Who the server has to be. A dot at the end, which says that a name is whole, isn't part of it.
std::string NameOf(const TlsOptions& options, const std::string& host) {
  std::string name = options.server_name.empty() ? host : options.server_name;
  if (name.ends_with('.')) name.pop_back();
  return name;
}

}  // namespace

TlsStream::ErrorQueue::ErrorQueue() { ERR_clear_error(); }

TlsStream::ErrorQueue::~ErrorQueue() { ERR_clear_error(); }

TlsStream::TlsStream(ScopedFd fd) : Stream(std::move(fd)) {}

TlsStream::~TlsStream() = default;

absl::StatusOr<std::unique_ptr<Stream>> TlsStream::Connect(ScopedFd fd, const TlsOptions& options,
                                                           const std::string& host,
                                                           Deadline deadline) {
  const absl::StatusOr<TlsContext> context = MakeTlsContext(options);
  if (!context.ok()) return context.status();
  std::unique_ptr<TlsStream> stream(new TlsStream(std::move(fd)));
  const std::string name = NameOf(options, host);
  absl::Status status = stream->Prepare(context->get(), name);
  if (status.ok()) status = stream->ShakeHands(name, deadline);
  if (!status.ok()) return status;
  return stream;
}

absl::Status TlsStream::Prepare(SSL_CTX* context, const std::string& name) {
  MutexLock lock(&mutex_);
  const ErrorQueue errors;
  ssl_.reset(SSL_new(context));
  const BIO_METHOD* const method = SocketMethod();
  BIO* const bio = ssl_ != nullptr && method != nullptr ? BIO_new(method) : nullptr;
  if (bio == nullptr) return absl::ResourceExhaustedError("TLS: out of memory");
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_connect_state(ssl_.get());
  const bool taken =
      IsAddress(name) ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), name.c_str()) == 1
                      : SSL_set1_host(ssl_.get(), name.c_str()) == 1 &&
                            SSL_set_tlsext_host_name(ssl_.get(), name.c_str()) == 1;
  if (taken) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Concat("TLS: \"", name, "\" can't be a server's name: ", TakeTlsError()));
}

absl::Status TlsStream::ShakeHands(const std::string& name, Deadline deadline) {
  MutexLock lock(&mutex_);
  while (true) {
    const ErrorQueue errors;
    const int result = SSL_do_handshake(ssl_.get());
    if (result == 1) return absl::OkStatus();
    const int kind = ErrorOf(result);
    if (kind != SSL_ERROR_WANT_READ && kind != SSL_ERROR_WANT_WRITE) {
      const long verified = SSL_get_verify_result(ssl_.get());
      if (verified == X509_V_OK || SSL_get_verify_mode(ssl_.get()) == SSL_VERIFY_NONE) {
        return absl::UnavailableError(Concat("TLS: no agreement: ", Lost(kind).message()));
      }
      return absl::UnauthenticatedError(Concat("TLS: not a certificate for \"", name,
                                               "\": ", X509_verify_cert_error_string(verified)));
    }
    PollUntil(fd(), kind == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline);
    // Checked although data came, too: a server that drips bytes doesn't get longer.
    if (deadline.Passed()) {
      return absl::DeadlineExceededError("TLS: the server didn't answer in time");
    }
  }
}

absl::StatusOr<size_t> TlsStream::Send(absl::Span<const iovec> parts) {
  size_t sent = 0;
  for (const iovec& part : parts) {
    for (size_t done = 0; done < part.iov_len;) {
      // The lock isn't fair, and the receiver may have a deadline.
      while (receiver_waits_.load(std::memory_order_relaxed)) std::this_thread::yield();
      MutexLock lock(&mutex_);
      if (!lost_.ok()) return lost_;
      const ErrorQueue errors;
      size_t size = 0;
      const int result = SSL_write_ex(ssl_.get(), static_cast<const char*>(part.iov_base) + done,
                                      part.iov_len - done, &size);
      if (result == 1) {
        done += size;
        sent += size;
        continue;
      }
      const int kind = ErrorOf(result);
      if (kind == SSL_ERROR_WANT_WRITE || kind == SSL_ERROR_WANT_READ) return sent;
      absl::Status lost = Lost(kind);
      if (sent > 0) return sent;  // the error comes again
      return lost;
    }
  }
  return sent;
}

absl::StatusOr<size_t> TlsStream::Receive(absl::Span<char> buffer) {
  assert(buffer.size() >= kReceiveBytes);
  receiver_waits_.store(true, std::memory_order_relaxed);
  MutexLock lock(&mutex_);
  receiver_waits_.store(false, std::memory_order_relaxed);
  if (!lost_.ok()) return lost_;
  const ErrorQueue errors;
  size_t received = 0;
  const int result = SSL_read_ex(ssl_.get(), buffer.data(), buffer.size(), &received);
  if (result == 1) return received;
  const int kind = ErrorOf(result);
  if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE) return size_t{0};
  return Lost(kind);
}

// What the server said for OpenSSL alone is taken on the way: tickets come after the handshake.
bool TlsStream::IsStale() {
  MutexLock lock(&mutex_);
  const ErrorQueue errors;
  char byte;
  size_t peeked = 0;
  const int result = SSL_peek_ex(ssl_.get(), &byte, 1, &peeked);
  return result == 1 || ErrorOf(result) != SSL_ERROR_WANT_READ;
}

int TlsStream::ErrorOf(int result) { return SSL_get_error(ssl_.get(), result); }

absl::Status TlsStream::Lost(int kind) {
  if (kind == SSL_ERROR_SYSCALL && !socket_lost_.ok()) return socket_lost_;
  const bool closed = kind == SSL_ERROR_ZERO_RETURN;
  lost_ = absl::UnavailableError(closed ? "the server closed it" : TakeTlsError());
  return lost_;
}

// OpenSSL's own for sockets writes such that a closed connection raises SIGPIPE.
const BIO_METHOD* TlsStream::SocketMethod() {
  static const BIO_METHOD* const kMethod = [] {
    BIO_METHOD* const method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    if (method != nullptr) {
      BIO_meth_set_write(method, Write);
      BIO_meth_set_read(method, Read);
      BIO_meth_set_ctrl(method, Control);
    }
    return method;
  }();
  return kMethod;
}

int TlsStream::Write(BIO* bio, const char* data, int size) {
  TlsStream& self = *static_cast<TlsStream*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  const iovec part = {const_cast<char*>(data), static_cast<size_t>(size)};
  const absl::StatusOr<size_t> sent = self.Stream::Send(absl::MakeConstSpan(&part, 1));
  if (!sent.ok()) self.socket_lost_ = sent.status();
  if (sent.ok() && *sent == 0) BIO_set_retry_write(bio);
  return sent.value_or(0) > 0 ? static_cast<int>(*sent) : -1;
}

// With less room than Receive asks for, and nothing lost by it: what stays behind stays in the
// socket.
int TlsStream::Read(BIO* bio, char* data, int size) {
  TlsStream& self = *static_cast<TlsStream*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  const auto received = self.Stream::Receive(absl::MakeSpan(data, static_cast<size_t>(size)));
  if (!received.ok()) self.socket_lost_ = received.status();
  if (received.ok() && *received == 0) BIO_set_retry_read(bio);
  return received.value_or(0) > 0 ? static_cast<int>(*received) : -1;
}

// Nothing is held back, so there is nothing to flush.
long TlsStream::Control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

}  // namespace larder::internal
