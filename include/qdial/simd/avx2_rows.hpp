// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/simd/rows.hpp"
#include "qdial/simd/sse4_rows.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

/// Two registers hold the sixteen rows.
template <>
struct row_ops<arch::avx2> {
    static constexpr std::size_t rows = interleaved_rows;
    static constexpr bool is_array = false;
    static constexpr code_kind kind = code_kind::unsigned_in_16;
    // Sixteen registers: six parts, six sums, two of codes, the activations and a product.
    static constexpr std::size_t gemm_tiles = 1, gemm_columns = 3;
    static constexpr std::size_t float_gemm_tiles = 1, float_gemm_columns = 6;
    static constexpr std::size_t gemv_tiles = 1, simple_gemv_tiles = 2, float_gemv_tiles = 2;

    struct word {
        __m256i lo, hi;  ///< rows 0 to 7 and 8 to 15
    };
    struct reals {
        __m256 lo, hi;
    };
    using part = word;

    QDIAL_INLINE static __m256i load8(const void* p) noexcept {
        return _mm256_loadu_si256(static_cast<const __m256i*>(p));
    }
    QDIAL_INLINE static word load(const void* p) noexcept {
        return {load8(p), load8(static_cast<const char*>(p) + 32)};
    }
    QDIAL_INLINE static void store(void* p, word a) noexcept {
        _mm256_storeu_si256(static_cast<__m256i*>(p), a.lo);
        _mm256_storeu_si256(static_cast<__m256i*>(p) + 1, a.hi);
    }
    QDIAL_INLINE static word both(__m256i a) noexcept { return {a, a}; }
    QDIAL_INLINE static std::int32_t load_i32(const void* p) noexcept {
        std::int32_t x;
        std::memcpy(&x, p, sizeof x);
        return x;
    }
    QDIAL_INLINE static word broadcast_bytes(const void* p) noexcept {
        return both(_mm256_set1_epi32(load_i32(p)));
    }
    QDIAL_INLINE static word broadcast_pair(const void* p) noexcept {
        return both(_mm256_set1_epi32(load_i32(p)));
    }
    QDIAL_INLINE static word broadcast_word(const void* p) noexcept {
        return both(_mm256_set1_epi32(load_i32(p)));
    }
    QDIAL_INLINE static word splat(std::uint32_t x) noexcept {
        return both(_mm256_set1_epi32(static_cast<int>(x)));
    }
    QDIAL_INLINE static word zero() noexcept { return both(_mm256_setzero_si256()); }
    QDIAL_INLINE static word bit_and(word a, word b) noexcept {
        return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)};
    }
    QDIAL_INLINE static word bit_or(word a, word b) noexcept {
        return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)};
    }
    QDIAL_INLINE static word bit_xor(word a, word b) noexcept {
        return {_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)};
    }
    QDIAL_INLINE static word add(word a, word b) noexcept {
        return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
    }
    QDIAL_INLINE static word sub_bytes(word a, word b) noexcept {
        return {_mm256_sub_epi8(a.lo, b.lo), _mm256_sub_epi8(a.hi, b.hi)};
    }
    template <int S>
    QDIAL_INLINE static word shl(word a) noexcept {
        return {_mm256_slli_epi32(a.lo, S), _mm256_slli_epi32(a.hi, S)};
    }
    template <int S>
    QDIAL_INLINE static word shr(word a) noexcept {
        return {_mm256_srli_epi32(a.lo, S), _mm256_srli_epi32(a.hi, S)};
    }
    template <int S>
    QDIAL_INLINE static word sar(word a) noexcept {
        return {_mm256_srai_epi32(a.lo, S), _mm256_srai_epi32(a.hi, S)};
    }

    QDIAL_INLINE static part zero_part() noexcept { return zero(); }
    QDIAL_INLINE static part part_from(word pairs) noexcept { return pairs; }
    QDIAL_INLINE static part multiply_add(part p, word codes, word activations) noexcept {
        return {_mm256_add_epi16(p.lo, _mm256_maddubs_epi16(codes.lo, activations.lo)),
                _mm256_add_epi16(p.hi, _mm256_maddubs_epi16(codes.hi, activations.hi))};
    }
    QDIAL_INLINE static __m256i signed_products(__m256i codes, __m256i activations) noexcept {
        return _mm256_madd_epi16(
            _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(activations, codes)),
            _mm256_set1_epi16(1));
    }
    /// sums + the four products of each lane, codes signed.
    QDIAL_INLINE static word add_signed(word sums, word codes, word activations) noexcept {
        return {_mm256_add_epi32(sums.lo, signed_products(codes.lo, activations.lo)),
                _mm256_add_epi32(sums.hi, signed_products(codes.hi, activations.hi))};
    }
    QDIAL_INLINE static word sums_of(part p) noexcept {
        const __m256i one = _mm256_set1_epi16(1);
        return {_mm256_madd_epi16(p.lo, one), _mm256_madd_epi16(p.hi, one)};
    }
    QDIAL_INLINE static word to_scale(word s) noexcept {
        return {_mm256_blend_epi16(_mm256_slli_epi32(s.lo, 16), s.lo, 0x55),
                _mm256_blend_epi16(_mm256_slli_epi32(s.hi, 16), s.hi, 0x55)};
    }
    QDIAL_INLINE static word add_scaled(word sums, part p, word scale) noexcept {
        return add_pairs(sums, p, scale);
    }
    QDIAL_INLINE static word add_pairs(word sums, word a, word b) noexcept {
        return {_mm256_add_epi32(sums.lo, _mm256_madd_epi16(a.lo, b.lo)),
                _mm256_add_epi32(sums.hi, _mm256_madd_epi16(a.hi, b.hi))};
    }

    QDIAL_INLINE static reals load(const float* p) noexcept {
        return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
    }
    QDIAL_INLINE static void store(float* p, reals a) noexcept {
        _mm256_storeu_ps(p, a.lo);
        _mm256_storeu_ps(p + 8, a.hi);
    }
    QDIAL_INLINE static reals broadcast_float(const void* p) noexcept {
        const __m256 x = _mm256_broadcast_ss(static_cast<const float*>(p));
        return {x, x};
    }
    QDIAL_INLINE static reals zero_reals() noexcept {
        return {_mm256_setzero_ps(), _mm256_setzero_ps()};
    }
    QDIAL_INLINE static __m128i load_eight_halves(const void* p) noexcept {
        return _mm_loadu_si128(static_cast<const __m128i*>(p));
    }
    QDIAL_INLINE static reals load_halves(const void* p) noexcept {
        return {_mm256_cvtph_ps(load_eight_halves(p)),
                _mm256_cvtph_ps(load_eight_halves(static_cast<const char*>(p) + 16))};
    }
    QDIAL_INLINE static __m256 widen_bfloats(const void* p) noexcept {
        return _mm256_castsi256_ps(
            _mm256_slli_epi32(_mm256_cvtepu16_epi32(load_eight_halves(p)), 16));
    }
    QDIAL_INLINE static reals load_bfloats(const void* p) noexcept {
        return {widen_bfloats(p), widen_bfloats(static_cast<const char*>(p) + 16)};
    }
    QDIAL_INLINE static reals load_floats(const void* p) noexcept {
        return load(static_cast<const float*>(p));
    }
    QDIAL_INLINE static reals to_reals(word a) noexcept {
        return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)};
    }
    QDIAL_INLINE static reals mul(reals a, reals b) noexcept {
        reals product{_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
        asm("" : "+x"(product.lo), "+x"(product.hi));
        return product;
    }
    QDIAL_INLINE static reals fma(reals a, reals b, reals c) noexcept {
        return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
    }
    QDIAL_INLINE static reals fnma(reals a, reals b, reals c) noexcept {
        return {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
    }
    template <class R>
    QDIAL_INLINE static void prefetch(const void* p, R& a) noexcept {
        asm("prefetcht0 %1" : "+x"(a.lo) : "m"(*static_cast<const char*>(p)));
    }
};

#if QDIAL_WITH_AVX2_VNNI
template <>
struct row_ops<arch::avx2_vnni> : row_ops<arch::avx2> {
    static constexpr code_kind kind = code_kind::unsigned_in_32;

    QDIAL_INLINE static part multiply_add(part p, word codes, word activations) noexcept {
        return {_mm256_dpbusd_avx_epi32(p.lo, codes.lo, activations.lo),
                _mm256_dpbusd_avx_epi32(p.hi, codes.hi, activations.hi)};
    }
    QDIAL_INLINE static word sums_of(part p) noexcept { return p; }
    /// A part fits into the low half of its lane; its high half, the sign, meets a zero.
    QDIAL_INLINE static word to_scale(word s) noexcept { return bit_and(s, splat(0xFFFF)); }
    QDIAL_INLINE static word add_scaled(word sums, part p, word scale) noexcept {
        return add_pairs(sums, p, scale);
    }
    QDIAL_INLINE static word add_pairs(word sums, word a, word b) noexcept {
        return {_mm256_dpwssd_avx_epi32(sums.lo, a.lo, b.lo),
                _mm256_dpwssd_avx_epi32(sums.hi, a.hi, b.hi)};
    }
};
#endif

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
