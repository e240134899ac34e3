// SPDX-License-Identifier: Apache-2.0
//
// Compiled with -include, to see whether a header stands alone.
