// SPDX-License-Identifier: Apache-2.0
//
// Compile-time ground rules of the library: language level, floating-point model and the assertion
// that a user may replace. Every qdial header includes this file first.
//
// All macros that the headers leave defined:
//
//     QDIAL_VERSION_MAJOR, QDIAL_VERSION_MINOR, QDIAL_VERSION_PATCH      see version.hpp
//     QDIAL_ASSERT(condition, message)                                   see below
//     QDIAL_WITH_AVX2, …    1 or 0: whether the compiler's flags allow the backend, see simd/arch.hpp
//
// All that they look at if you define them, in every file alike:
//
//     QDIAL_ASSERT             your own check of preconditions
//     QDIAL_FORCE_GENERIC      no SIMD backend
//     QDIAL_COMPILER_INLINES   compile fast rather than run fast, see macros_begin.hpp
//     QDIAL_NO_MMAP            read files into memory instead of mapping them
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
