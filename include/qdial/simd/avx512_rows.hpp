// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/simd/avx2_rows.hpp"
#include "qdial/simd/rows.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

/// One register holds all sixteen rows.
template <>
struct row_ops<arch::avx512> {
    static constexpr std::size_t rows = interleaved_rows;
    static constexpr bool is_array = false;
    static constexpr code_kind kind = code_kind::unsigned_in_16;
    // Thirty-two registers: 12 parts, 12 sums, 2 of codes and the broadcast activations.
    static constexpr std::size_t gemm_tiles = 2, gemm_columns = 6;
    static constexpr std::size_t float_gemm_tiles = 2, float_gemm_columns = 12;
    static constexpr std::size_t gemv_tiles = 2, simple_gemv_tiles = 2, float_gemv_tiles = 2;

    using word = __m512i;
    using reals = __m512;
    using part = __m512i;

    QDIAL_INLINE static word load(const void* p) noexcept { return _mm512_loadu_si512(p); }
    QDIAL_INLINE static void store(void* p, word a) noexcept { _mm512_storeu_si512(p, a); }
    QDIAL_INLINE static std::int32_t load_i32(const void* p) noexcept {
        std::int32_t x;
        std::memcpy(&x, p, sizeof x);
        return x;
    }
    QDIAL_INLINE static word broadcast_bytes(const void* p) noexcept {
        return _mm512_set1_epi32(load_i32(p));
    }
    QDIAL_INLINE static word broadcast_pair(const void* p) noexcept {
        return _mm512_set1_epi32(load_i32(p));
    }
    QDIAL_INLINE static word broadcast_word(const void* p) noexcept {
        return _mm512_set1_epi32(load_i32(p));
    }
    QDIAL_INLINE static word splat(std::uint32_t x) noexcept {
        return _mm512_set1_epi32(static_cast<int>(x));
    }
    QDIAL_INLINE static word zero() noexcept { return _mm512_setzero_si512(); }
    QDIAL_INLINE static word bit_and(word a, word b) noexcept { return _mm512_and_si512(a, b); }
    QDIAL_INLINE static word bit_or(word a, word b) noexcept { return _mm512_or_si512(a, b); }
    QDIAL_INLINE static word bit_xor(word a, word b) noexcept { return _mm512_xor_si512(a, b); }
    QDIAL_INLINE static word add(word a, word b) noexcept { return _mm512_add_epi32(a, b); }
    QDIAL_INLINE static word sub_bytes(word a, word b) noexcept { return _mm512_sub_epi8(a, b); }
    template <int S>
    QDIAL_INLINE static word shl(word a) noexcept {
        return _mm512_slli_epi32(a, S);
    }
    template <int S>
    QDIAL_INLINE static word shr(word a) noexcept {
        return _mm512_srli_epi32(a, S);
    }
    template <int S>
    QDIAL_INLINE static word sar(word a) noexcept {
        return _mm512_srai_epi32(a, S);
    }

    QDIAL_INLINE static part zero_part() noexcept { return zero(); }
    QDIAL_INLINE static part part_from(word pairs) noexcept { return pairs; }
    QDIAL_INLINE static part multiply_add(part p, word codes, word activations) noexcept {
        return _mm512_add_epi16(p, _mm512_maddubs_epi16(codes, activations));
    }
    /// sums + the four products of each lane, codes signed.
    QDIAL_INLINE static word add_signed(word sums, word codes, word activations) noexcept {
        const __mmask64 negative = _mm512_movepi8_mask(codes);
        const word signed_activations =
            _mm512_mask_sub_epi8(activations, negative, zero(), activations);
        const word pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(codes), signed_activations);
        return _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
    }
    QDIAL_INLINE static word sums_of(part p) noexcept {
        return _mm512_madd_epi16(p, _mm512_set1_epi16(1));
    }
    QDIAL_INLINE static word to_scale(word s) noexcept {
        return _mm512_mask_mov_epi16(_mm512_slli_epi32(s, 16), 0x55555555, s);
    }
    QDIAL_INLINE static word add_scaled(word sums, part p, word scale) noexcept {
        return _mm512_add_epi32(sums, _mm512_madd_epi16(p, scale));
    }
    QDIAL_INLINE static word add_pairs(word sums, word a, word b) noexcept {
        return _mm512_add_epi32(sums, _mm512_madd_epi16(a, b));
    }

    QDIAL_INLINE static reals load(const float* p) noexcept { return _mm512_loadu_ps(p); }
    QDIAL_INLINE static void store(float* p, reals a) noexcept { _mm512_storeu_ps(p, a); }
    QDIAL_INLINE static reals broadcast_float(const void* p) noexcept {
        return _mm512_castsi512_ps(broadcast_word(p));
    }
    QDIAL_INLINE static reals zero_reals() noexcept { return _mm512_setzero_ps(); }
    QDIAL_INLINE static reals load_halves(const void* p) noexcept {
        return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
    }
    QDIAL_INLINE static reals load_bfloats(const void* p) noexcept {
        return _mm512_castsi512_ps(_mm512_slli_epi32(
            _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p))), 16));
    }
    QDIAL_INLINE static reals load_floats(const void* p) noexcept { return _mm512_loadu_ps(p); }
    QDIAL_INLINE static reals to_reals(word a) noexcept { return _mm512_cvtepi32_ps(a); }
    QDIAL_INLINE static reals mul(reals a, reals b) noexcept {
        __m512 product = _mm512_mul_ps(a, b);
        asm("" : "+v"(product));
        return product;
    }
    QDIAL_INLINE static reals fma(reals a, reals b, reals c) noexcept {
        return _mm512_fmadd_ps(a, b, c);
    }
    QDIAL_INLINE static reals fnma(reals a, reals b, reals c) noexcept {
        return _mm512_fnmadd_ps(a, b, c);
    }
    template <class R>
    QDIAL_INLINE static void prefetch(const void* p, R& a) noexcept {
        asm("prefetcht0 %1" : "+v"(a) : "m"(*static_cast<const char*>(p)));
    }
};

#if QDIAL_WITH_AVX512_VNNI
template <>
struct row_ops<arch::avx512_vnni> : row_ops<arch::avx512> {
    static constexpr code_kind kind = code_kind::unsigned_in_32;

    QDIAL_INLINE static part multiply_add(part p, word codes, word activations) noexcept {
        return _mm512_dpbusd_epi32(p, codes, activations);
    }
    QDIAL_INLINE static word sums_of(part p) noexcept { return p; }
    /// A part fits into the low half of its lane; its high half, the sign, meets a zero.
    QDIAL_INLINE static word to_scale(word s) noexcept {
        return _mm512_and_si512(s, _mm512_set1_epi32(0xFFFF));
    }
    QDIAL_INLINE static word add_scaled(word sums, part p, word scale) noexcept {
        return _mm512_dpwssd_epi32(sums, p, scale);
    }
    QDIAL_INLINE static word add_pairs(word sums, word a, word b) noexcept {
        return _mm512_dpwssd_epi32(sums, a, b);
    }
};
template <>
struct row_ops<arch::avx512_amx> : row_ops<arch::avx512_vnni> {};
#endif

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
