// SPDX-License-Identifier: Apache-2.0
//
// The backends as tags. A tag derives from the weaker one it extends, so that a primitive written
// for `arch::avx2` also serves `arch::avx512` unless that has its own (most derived wins). xsimd
// has no VNNI tags in its older releases and its avx512f does not derive from avx2, so the
// hierarchy is our own; each tag names the xsimd architecture whose batches it uses.
#pragma once

#include <cstddef>
#include <string_view>

#include "qdial/config.hpp"

namespace qdial::arch {

/// The scalar definition: every kernel at width 1, no SIMD instructions of our own.
struct generic {
    static constexpr std::string_view name = "generic";
};

/// The kernels at the width of `Bits`-bit registers, on arrays. Slow; it lets any machine test
/// what a wide backend computes.
template <std::size_t Bits>
struct emulated : generic {
    static_assert(Bits % 32 == 0 && Bits >= 32);
    static constexpr std::string_view name = "emulated";
};

/// x86-64 with SSE4.2.
struct sse4 : generic {
    static constexpr std::string_view name = "sse4";
};
/// AVX2, FMA and F16C (Haswell, Zen).
struct avx2 : sse4 {
    static constexpr std::string_view name = "avx2";
};
/// AVX2 with the VEX-encoded int8 dot product (Alder Lake).
struct avx2_vnni : avx2 {
    static constexpr std::string_view name = "avx2_vnni";
};
/// AVX-512 F, BW, DQ and VL (Skylake-X, Zen 4).
struct avx512 : avx2 {
    static constexpr std::string_view name = "avx512";
};
/// AVX-512 with the int8 dot product (Ice Lake, Zen 4).
struct avx512_vnni : avx512 {
    static constexpr std::string_view name = "avx512_vnni";
};
/// AVX-512 with VNNI and the int8 matrix tiles of AMX (Sapphire Rapids), which packed GEMM then
/// uses. Never chosen by itself: a process has to ask the kernel for the tiles first, see
/// `request_amx` in simd/amx.hpp.
struct avx512_amx : avx512_vnni {
    static constexpr std::string_view name = "avx512_amx";
};
/// The algorithm of avx512_amx on arrays.
struct emulated_amx : generic {
    static constexpr std::string_view name = "emulated_amx";
};
/// aarch64 with Advanced SIMD.
struct neon : generic {
    static constexpr std::string_view name = "neon";
};
/// With the int8 dot product (Cortex-A76, Apple M1, Neoverse N1).
struct neon_dotprod : neon {
    static constexpr std::string_view name = "neon_dotprod";
};
/// With the int8 matrix product (Neoverse V1 and N2, Apple M2).
struct neon_i8mm : neon_dotprod {
    static constexpr std::string_view name = "neon_i8mm";
};

// What the compiler's flags allow. QDIAL_FORCE_GENERIC turns all backends off.
#if !defined(QDIAL_FORCE_GENERIC) && defined(__SSE4_2__)
#define QDIAL_WITH_SSE4 1
#else
#define QDIAL_WITH_SSE4 0
#endif
#if QDIAL_WITH_SSE4 && defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define QDIAL_WITH_AVX2 1
#else
#define QDIAL_WITH_AVX2 0
#endif
#if QDIAL_WITH_AVX2 && defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && \
    defined(__AVX512VL__)
#define QDIAL_WITH_AVX512 1
#else
#define QDIAL_WITH_AVX512 0
#endif
#if QDIAL_WITH_AVX2 && defined(__AVXVNNI__)
#define QDIAL_WITH_AVX2_VNNI 1
#else
#define QDIAL_WITH_AVX2_VNNI 0
#endif
#if QDIAL_WITH_AVX512 && defined(__AVX512VNNI__)
#define QDIAL_WITH_AVX512_VNNI 1
#else
#define QDIAL_WITH_AVX512_VNNI 0
#endif
#if !defined(QDIAL_FORCE_GENERIC) && defined(__aarch64__) && defined(__ARM_NEON)
#define QDIAL_WITH_NEON 1
#else
#define QDIAL_WITH_NEON 0
#endif

#if QDIAL_WITH_AVX512_VNNI && defined(__AMX_TILE__) && defined(__AMX_INT8__)
#define QDIAL_WITH_AMX 1
#else
#define QDIAL_WITH_AMX 0
#endif
#if QDIAL_WITH_NEON && defined(__ARM_FEATURE_DOTPROD)
#define QDIAL_WITH_NEON_DOTPROD 1
#else
#define QDIAL_WITH_NEON_DOTPROD 0
#endif
#if QDIAL_WITH_NEON_DOTPROD && defined(__ARM_FEATURE_MATMUL_INT8)
#define QDIAL_WITH_NEON_I8MM 1
#else
#define QDIAL_WITH_NEON_I8MM 0
#endif

/// The best backend that this translation unit's flags allow.
#if QDIAL_WITH_AVX512_VNNI
using best = avx512_vnni;
#elif QDIAL_WITH_AVX512
using best = avx512;
#elif QDIAL_WITH_AVX2_VNNI
using best = avx2_vnni;
#elif QDIAL_WITH_AVX2
using best = avx2;
#elif QDIAL_WITH_SSE4
using best = sse4;
#elif QDIAL_WITH_NEON_I8MM
using best = neon_i8mm;
#elif QDIAL_WITH_NEON_DOTPROD
using best = neon_dotprod;
#elif QDIAL_WITH_NEON
using best = neon;
#else
using best = generic;
#endif

}  // namespace qdial::arch

namespace qdial {
/// The backend that kernels use when none is named.
using default_arch = arch::best;
}  // namespace qdial
