// SPDX-License-Identifier: Apache-2.0
//
// The macros that kernels are written with. A header that uses them includes this file after all
// others and qdial/macros_end.hpp at its end, so that none of them is left to whoever includes it.
// For kernels and formats of your own do the same. No #pragma once: it is included again and again.

/// QDIAL_INLINE forces inlining of the small functions that kernels are made of. Also what keeps
/// one program safe that is linked from files with different -m flags: nothing of it is left to be
/// merged. QDIAL_INLINE_LAMBDA is the same for a lambda: [&](int x) QDIAL_INLINE_LAMBDA { … }
///
/// With QDIAL_COMPILER_INLINES (yours to define) they only allow it, for programs that need to
/// compile fast rather than run fast and whose files are all compiled with the same -m flags. Under
/// AddressSanitizer that is the default: with a check on every access, whole kernels in one
/// function take the compiler minutes and gigabytes.
#if defined(QDIAL_COMPILER_INLINES) || defined(__SANITIZE_ADDRESS__)
#define QDIAL_FORCES_INLINING 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define QDIAL_FORCES_INLINING 0
#else
#define QDIAL_FORCES_INLINING 1
#endif
#else
#define QDIAL_FORCES_INLINING 1
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define QDIAL_INLINE __forceinline
#define QDIAL_INLINE_LAMBDA
#elif QDIAL_FORCES_INLINING
#define QDIAL_INLINE inline __attribute__((always_inline))
#define QDIAL_INLINE_LAMBDA __attribute__((always_inline))
#else
#define QDIAL_INLINE inline
#define QDIAL_INLINE_LAMBDA
#endif

/// QDIAL_UNROLL before a loop over registers: unrolls it also under -O2, where gcc otherwise keeps
/// the registers in memory.
#if defined(__GNUC__) && !defined(__clang__) && QDIAL_FORCES_INLINING
#define QDIAL_UNROLL _Pragma("GCC unroll 32")
#else
#define QDIAL_UNROLL
#endif
/// QDIAL_NO_UNROLL before a loop that must stay one: its body fills the registers.
#if defined(__clang__)
#define QDIAL_NO_UNROLL _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define QDIAL_NO_UNROLL _Pragma("GCC unroll 1")
#else
#define QDIAL_NO_UNROLL
#endif

#undef QDIAL_FORCES_INLINING
