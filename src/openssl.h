// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_OPENSSL_H_
#define LARDER_SRC_OPENSSL_H_

#include <openssl/ssl.h>

namespace larder::internal {

// To be called before anything else of OpenSSL: unless it was told otherwise in time, it takes
// itself apart when the process exits, though a thread that connects may be left then. False if it
// can't be used. Thread-safe; cheap but for the first time.
inline bool InitializeOpenSsl() {
  static const bool kDone = OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, nullptr) == 1;
  return kDone;
}

}  // namespace larder::internal

#endif  // LARDER_SRC_OPENSSL_H_
