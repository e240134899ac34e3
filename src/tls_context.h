// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_TLS_CONTEXT_H_
#define LARDER_SRC_TLS_CONTEXT_H_

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "larder/tls_options.h"

namespace larder::internal {

struct TlsContextDeleter {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using TlsContext = std::unique_ptr<SSL_CTX, TlsContextDeleter>;

// What connections with `options` are made from, with what the files hold at this moment.
// InvalidArgument if one of them can't be used.
absl::StatusOr<TlsContext> MakeTlsContext(const TlsOptions& options);

// Takes what OpenSSL has to say of this thread's last failures: the cause. Empty: nothing.
std::string TakeTlsError();

}  // namespace larder::internal

#endif  // LARDER_SRC_TLS_CONTEXT_H_
