// SPDX-License-Identifier: Apache-2.0
//
// Compile-time ground rules of the library: language level, floating-point model, inlining and
// the assertion that a user may replace. Every qdial header includes this file first.
#pragma once

#if !defined(_MSVC_LANG) && __cplusplus < 202002L
#error "qdial needs C++20 (for example -std=c++20)."
#elif defined(_MSVC_LANG) && _MSVC_LANG < 202002L
#error "qdial needs C++20 (/std:c++20)."
#endif

// The encoders promise the reference's bytes. Under fast-math the compiler may reorder sums,
// replace divisions and drop NaN checks, and no header can undo that.
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error \
    "qdial: -ffast-math (or -ffinite-math-only) breaks bit-exact quantization. Compile the files that include qdial without it."
#endif

#include <cfloat>

#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error \
    "qdial: float arithmetic is evaluated in a wider type here (x87?). Compile with -msse2 -mfpmath=sse."
#endif

/// Forces inlining of the small functions that kernels are made of. Also what keeps one program
/// safe that is linked from files with different -m flags: nothing of it is left to be merged.
/// With QDIAL_COMPILER_INLINES it only allows it, for programs that need to compile fast rather
/// than run fast and whose files are all compiled with the same -m flags. Under AddressSanitizer
/// that is the default: with a check on every access, whole kernels in one function take the
/// compiler minutes and gigabytes.
#if !defined(QDIAL_COMPILER_INLINES)
#if defined(__SANITIZE_ADDRESS__)
#define QDIAL_COMPILER_INLINES 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define QDIAL_COMPILER_INLINES 1
#endif
#endif
#endif
#if defined(_MSC_VER) && !defined(__clang__)
#define QDIAL_INLINE __forceinline
#define QDIAL_INLINE_LAMBDA
#elif defined(QDIAL_COMPILER_INLINES)
#define QDIAL_INLINE inline
#define QDIAL_INLINE_LAMBDA
#else
#define QDIAL_INLINE inline __attribute__((always_inline))
/// The same for a lambda: [&](int x) QDIAL_INLINE_LAMBDA { … }
#define QDIAL_INLINE_LAMBDA __attribute__((always_inline))
#endif

/// Before a loop over registers: unrolls it also under -O2, where gcc otherwise keeps the registers
/// in memory.
#if defined(__GNUC__) && !defined(__clang__) && !defined(QDIAL_COMPILER_INLINES)
#define QDIAL_UNROLL _Pragma("GCC unroll 32")
#else
#define QDIAL_UNROLL
#endif
/// Before a loop that must stay one: its body fills the registers.
#if defined(__clang__)
#define QDIAL_NO_UNROLL _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define QDIAL_NO_UNROLL _Pragma("GCC unroll 1")
#else
#define QDIAL_NO_UNROLL
#endif

/// Checks a precondition (sizes that do not match, for example). It stays on in release builds:
/// it runs once per call, never per element. Define it before the first qdial header to install
/// a handler of your own; the handler must not return when `condition` is false.
///
///     #define QDIAL_ASSERT(condition, message) my_engine_check((condition), (message))
#ifndef QDIAL_ASSERT
#include <cstdio>
#include <cstdlib>
namespace qdial::detail {
[[noreturn]] inline void assertion_failed(const char* condition, const char* message,
                                          const char* file, int line) noexcept {
    std::fprintf(stderr, "qdial: %s (%s) at %s:%d\n", message, condition, file, line);
    std::abort();
}
}  // namespace qdial::detail
#define QDIAL_ASSERT(condition, message) \
    (static_cast<bool>(condition)        \
         ? static_cast<void>(0)          \
         : ::qdial::detail::assertion_failed(#condition, message, __FILE__, __LINE__))
#endif
