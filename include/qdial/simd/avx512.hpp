// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/simd/avx2.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

template <>
struct ops<arch::avx512> : xsimd_ops<xsimd::avx512bw> {
    using base = xsimd_ops<xsimd::avx512bw>;
    using base::bit_and, base::bit_or, base::select, base::eq;
    // Thirty-two registers: four groups keep both 512-bit ports busy through a latency of four.
    static constexpr std::size_t groups = 4;

    QDIAL_INLINE static f max(f a, f b) noexcept { return _mm512_max_ps(a, b); }
    QDIAL_INLINE static f min(f a, f b) noexcept { return _mm512_min_ps(a, b); }
    QDIAL_INLINE static i max(i a, i b) noexcept { return _mm512_max_epi32(a, b); }
    QDIAL_INLINE static i min(i a, i b) noexcept { return _mm512_min_epi32(a, b); }
    QDIAL_INLINE static m gt(i a, i b) noexcept { return m(_mm512_cmpgt_epi32_mask(a, b)); }
    QDIAL_INLINE static m eq(i a, i b) noexcept { return m(_mm512_cmpeq_epi32_mask(a, b)); }
    template <int S>
    QDIAL_INLINE static i shl(i a) noexcept {
        return _mm512_slli_epi32(a, S);
    }
    template <int S>
    QDIAL_INLINE static i sar(i a) noexcept {
        return _mm512_srai_epi32(a, S);
    }
    QDIAL_INLINE static i select(m c, i a, i b) noexcept {
        return _mm512_mask_mov_epi32(b, c.data, a);
    }
    QDIAL_INLINE static std::uint32_t bitmask(m a) noexcept {
        return static_cast<std::uint32_t>(a.data);
    }
    QDIAL_INLINE static i bits(f a) noexcept { return _mm512_castps_si512(a); }
    QDIAL_INLINE static f from_bits(i a) noexcept { return _mm512_castsi512_ps(a); }
    QDIAL_INLINE static i truncate(f a) noexcept { return _mm512_cvttps_epi32(a); }

    /// The instruction keeps a NaN's payload; the reference stores one quiet NaN per sign.
    QDIAL_INLINE static i to_half(f a) noexcept {
        const __m512i half = _mm512_cvtepu16_epi32(_mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
        const __m512i nan = _mm512_or_si512(_mm512_and_si512(half, _mm512_set1_epi32(0x8000)),
                                            _mm512_set1_epi32(0x7E00));
        return _mm512_mask_mov_epi32(half, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), nan);
    }
    QDIAL_INLINE static f from_half(i a) noexcept {
        return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a));
    }

    QDIAL_INLINE static f load_i8(const std::int8_t* p) noexcept {
        return _mm512_cvtepi32_ps(
            _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
    }
    QDIAL_INLINE static i load_u16(const std::uint16_t* p) noexcept {
        return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    }
    QDIAL_INLINE static void store_u16(std::uint16_t* p, i a) noexcept {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(a));
    }
    template <std::size_t G>
    QDIAL_INLINE static void store_i8(std::int8_t* p, const i (&a)[G]) noexcept {
        for (std::size_t g = 0; g < G; ++g)
            _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 16 * g), _mm512_cvtepi32_epi8(a[g]));
    }
    QDIAL_INLINE static std::int32_t reduce_max(i a) noexcept {
        return ops<arch::avx2>::reduce_max(ops<arch::avx2>::i(
            _mm256_max_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1))));
    }
    QDIAL_INLINE static float reduce_max(f a) noexcept {
        return ops<arch::avx2>::reduce_max(ops<arch::avx2>::f(
            _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1))));
    }
    QDIAL_INLINE static float reduce_min(f a) noexcept {
        return ops<arch::avx2>::reduce_min(ops<arch::avx2>::f(
            _mm256_min_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1))));
    }
    QDIAL_INLINE static void transpose(f (&r)[16]) noexcept {
        __m512 p[16], q[16];
        for (int k = 0; k < 16; k += 2) {
            p[k] = _mm512_unpacklo_ps(r[k], r[k + 1]);
            p[k + 1] = _mm512_unpackhi_ps(r[k], r[k + 1]);
        }
        for (int k = 0; k < 16; k += 4) {
            q[k] = _mm512_shuffle_ps(p[k], p[k + 2], 0x44);
            q[k + 1] = _mm512_shuffle_ps(p[k], p[k + 2], 0xEE);
            q[k + 2] = _mm512_shuffle_ps(p[k + 1], p[k + 3], 0x44);
            q[k + 3] = _mm512_shuffle_ps(p[k + 1], p[k + 3], 0xEE);
        }
        // q[4a + c] holds column c + 4*(128-bit lane) of rows 4a .. 4a+3.
        for (int c = 0; c < 4; ++c) {
            const __m512 a = _mm512_shuffle_f32x4(q[c], q[4 + c], 0x88);
            const __m512 b = _mm512_shuffle_f32x4(q[8 + c], q[12 + c], 0x88);
            const __m512 d = _mm512_shuffle_f32x4(q[c], q[4 + c], 0xDD);
            const __m512 e = _mm512_shuffle_f32x4(q[8 + c], q[12 + c], 0xDD);
            r[c] = f(_mm512_shuffle_f32x4(a, b, 0x88));
            r[c + 8] = f(_mm512_shuffle_f32x4(a, b, 0xDD));
            r[c + 4] = f(_mm512_shuffle_f32x4(d, e, 0x88));
            r[c + 12] = f(_mm512_shuffle_f32x4(d, e, 0xDD));
        }
    }
};

template <>
struct ops<arch::avx512_vnni> : ops<arch::avx512> {};
template <>
struct ops<arch::avx512_amx> : ops<arch::avx512_vnni> {};

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
