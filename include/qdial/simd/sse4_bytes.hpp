// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/simd/bytes.hpp"
#include "qdial/simd/sse4.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

template <>
struct byte_ops<arch::sse4> {
    using O = ops<arch::sse4>;
    using f = O::f;
    struct bytes {
        __m128i lo, hi;
    };
    using sums = __m128i;
    struct scales {
        __m128i lo, hi;  ///< sixteen 16-bit scales in order
    };

    QDIAL_INLINE static __m128i load16(const void* p) noexcept {
        return _mm_loadu_si128(static_cast<const __m128i*>(p));
    }
    static constexpr std::size_t length = 32;
    static constexpr float signed_unit = 1.0f;

    QDIAL_INLINE static bytes load(const void* p) noexcept {
        return {load16(p), load16(static_cast<const std::uint8_t*>(p) + 16)};
    }
    template <std::size_t First>
    QDIAL_INLINE static bytes load_nibbles(const std::uint8_t* p) noexcept {
        const __m128i pairs = load16(p), low = _mm_set1_epi8(15);
        return {_mm_and_si128(pairs, low), _mm_and_si128(_mm_srli_epi16(pairs, 4), low)};
    }
    QDIAL_INLINE static bytes load_bit_mask(const std::uint8_t* p) noexcept {
        std::int32_t field;
        std::memcpy(&field, p, 4);
        const __m128i all = _mm_cvtsi32_si128(field);
        const __m128i bit = _mm_set1_epi64x(static_cast<long long>(0x8040201008040201u));
        const auto expand = [&](long long byte0, long long byte1) {
            const __m128i spread = _mm_shuffle_epi8(all, _mm_set_epi64x(byte1, byte0));
            return _mm_cmpeq_epi8(_mm_and_si128(spread, bit), bit);
        };
        return {expand(0, 0x0101010101010101), expand(0x0202020202020202, 0x0303030303030303)};
    }
    QDIAL_INLINE static bytes splat(std::uint8_t x) noexcept {
        const __m128i v = _mm_set1_epi8(static_cast<char>(x));
        return {v, v};
    }
    QDIAL_INLINE static bytes bit_and(bytes a, bytes b) noexcept {
        return {_mm_and_si128(a.lo, b.lo), _mm_and_si128(a.hi, b.hi)};
    }
    QDIAL_INLINE static bytes bit_or(bytes a, bytes b) noexcept {
        return {_mm_or_si128(a.lo, b.lo), _mm_or_si128(a.hi, b.hi)};
    }
    QDIAL_INLINE static bytes sub_bytes(bytes a, bytes b) noexcept {
        return {_mm_sub_epi8(a.lo, b.lo), _mm_sub_epi8(a.hi, b.hi)};
    }
    template <int From, int To, int Count>
    QDIAL_INLINE static bytes move_bits(bytes a) noexcept {
        if constexpr (From > To)
            a = {_mm_srli_epi16(a.lo, From - To), _mm_srli_epi16(a.hi, From - To)};
        if constexpr (From < To)
            a = {_mm_slli_epi16(a.lo, To - From), _mm_slli_epi16(a.hi, To - From)};
        return bit_and(a, splat(static_cast<std::uint8_t>(((1 << Count) - 1) << To)));
    }

    QDIAL_INLINE static void unsigned_to_floats(bytes a, f (&out)[8]) noexcept {
        const auto widen = [](__m128i v, f* four) {
            four[0] = _mm_cvtepi32_ps(_mm_cvtepu8_epi32(v));
            four[1] = _mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_srli_si128(v, 4)));
            four[2] = _mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_srli_si128(v, 8)));
            four[3] = _mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_srli_si128(v, 12)));
        };
        widen(a.lo, out);
        widen(a.hi, out + 4);
    }
    QDIAL_INLINE static void signed_to_floats(__m128i v, f* four) noexcept {
        four[0] = _mm_cvtepi32_ps(_mm_cvtepi8_epi32(v));
        four[1] = _mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_srli_si128(v, 4)));
        four[2] = _mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_srli_si128(v, 8)));
        four[3] = _mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_srli_si128(v, 12)));
    }
    QDIAL_INLINE static void signed_to_floats(bytes a, f (&out)[8]) noexcept {
        signed_to_floats(a.lo, out);
        signed_to_floats(a.hi, out + 4);
    }
    QDIAL_INLINE static __m128i to_register(sixteen_bytes a) noexcept {
        return _mm_set_epi64x(static_cast<long long>(a.high), static_cast<long long>(a.low));
    }
    QDIAL_INLINE static void scales_to_floats(sixteen_bytes a, f (&out)[4]) noexcept {
        signed_to_floats(to_register(a), &out[0]);
    }

    QDIAL_INLINE static f exact_mul_add(f a, f b, f c) noexcept { return O::add(O::mul(a, b), c); }
    QDIAL_INLINE static f exact_mul_sub(f a, f b, f c) noexcept { return O::sub(O::mul(a, b), c); }

    QDIAL_INLINE static f splat_half(std::uint16_t bits) noexcept {
        return O::splat(to_float(float16{bits}));
    }
    QDIAL_INLINE static f load(const float16* p) noexcept {
        return O::from_half(_mm_cvtepu16_epi32(load8(p)));
    }
    QDIAL_INLINE static f load(const bfloat16* p) noexcept {
        return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), load8(p)));
    }
    QDIAL_INLINE static __m128i load8(const void* p) noexcept {
        return _mm_loadl_epi64(static_cast<const __m128i*>(p));
    }
    QDIAL_INLINE static void store(float16* p, f a) noexcept { store_words(p, O::to_half(a)); }
    QDIAL_INLINE static void store(bfloat16* p, f a) noexcept {
        const __m128i bits = _mm_castps_si128(a);
        const __m128i upper = _mm_srli_epi32(bits, 16);
        const __m128i odd = _mm_and_si128(upper, _mm_set1_epi32(1));
        const __m128i rounded =
            _mm_srli_epi32(_mm_add_epi32(bits, _mm_add_epi32(odd, _mm_set1_epi32(0x7FFF))), 16);
        const __m128i quiet = _mm_or_si128(upper, _mm_set1_epi32(0x40));
        const __m128 is_nan = _mm_cmpunord_ps(a, a);
        store_words(p, _mm_blendv_epi8(rounded, quiet, _mm_castps_si128(is_nan)));
    }
    QDIAL_INLINE static void store_words(void* p, __m128i words) noexcept {
        _mm_storel_epi64(static_cast<__m128i*>(p), _mm_packus_epi32(words, words));
    }

    QDIAL_INLINE static sums zero() noexcept { return _mm_setzero_si128(); }
    QDIAL_INLINE static sums add(sums a, sums b) noexcept { return _mm_add_epi32(a, b); }
    QDIAL_INLINE static sums sub(sums a, sums b) noexcept { return _mm_sub_epi32(a, b); }
    template <int S>
    QDIAL_INLINE static sums shl(sums a) noexcept {
        return _mm_slli_epi32(a, S);
    }
    // Pairs of products are added in 16 bits with saturation, which no input reaches: codes of at
    // most 127 (or |code| <= 128 times at least -127) give at most 2 x 127 x 128 = 32512.
    QDIAL_INLINE static sums add_up(__m128i lo, __m128i hi) noexcept {
        const __m128i one = _mm_set1_epi16(1);
        return add(_mm_madd_epi16(lo, one), _mm_madd_epi16(hi, one));
    }
    QDIAL_INLINE static sums dot(bytes u, const std::int8_t* a) noexcept {
        const bytes v = load(a);
        return add_up(_mm_maddubs_epi16(u.lo, v.lo), _mm_maddubs_epi16(u.hi, v.hi));
    }
    template <int Offset>
    QDIAL_INLINE static sums dot_minus(bytes u, const std::int8_t* a) noexcept {
        const bytes v = load(a);
        const __m128i c = _mm_set1_epi8(Offset);
        return add_up(_mm_sub_epi16(_mm_maddubs_epi16(u.lo, v.lo), _mm_maddubs_epi16(c, v.lo)),
                      _mm_sub_epi16(_mm_maddubs_epi16(u.hi, v.hi), _mm_maddubs_epi16(c, v.hi)));
    }
    QDIAL_INLINE static sums dot_signed(bytes s, const std::int8_t* a) noexcept {
        const bytes v = load(a);
        return add_up(_mm_maddubs_epi16(_mm_abs_epi8(s.lo), _mm_sign_epi8(v.lo, s.lo)),
                      _mm_maddubs_epi16(_mm_abs_epi8(s.hi), _mm_sign_epi8(v.hi, s.hi)));
    }
    QDIAL_INLINE static void sums_of_16(const std::int8_t* p, std::int16_t (&out)[2]) noexcept {
        for (int k = 0; k < 2; ++k) {
            // Sums of eight unsigned bytes: each code raised by 128.
            const __m128i raised = _mm_xor_si128(load16(p + 16 * k), _mm_set1_epi8(-128));
            const __m128i eights = _mm_sad_epu8(raised, zero());
            const __m128i sum = add(eights, _mm_unpackhi_epi64(eights, eights));
            out[k] = static_cast<std::int16_t>(_mm_cvtsi128_si32(sum) - 2048);
        }
    }

    QDIAL_INLINE static scales widen(__m128i v) noexcept {
        return {_mm_cvtepi8_epi16(v), _mm_cvtepi8_epi16(_mm_unpackhi_epi64(v, v))};
    }
    QDIAL_INLINE static scales scales_of_16(sixteen_bytes s) noexcept {
        return widen(to_register(s));
    }
    QDIAL_INLINE static scales scales_of_32(sixteen_bytes s) noexcept {
        const __m128i v = _mm_cvtsi64_si128(static_cast<long long>(s.low));
        return widen(_mm_unpacklo_epi8(v, v));
    }
    template <std::size_t Group>
    QDIAL_INLINE static sums add_scaled_dot(sums r, bytes u, const std::int8_t* a,
                                            scales s) noexcept {
        constexpr int first = 0x0100 + Group % 4 * 0x0404, second = first + 0x0202;
        const __m128i four_groups = Group < 4 ? s.lo : s.hi;
        const bytes v = load(a);
        r = add(r, _mm_madd_epi16(_mm_maddubs_epi16(u.lo, v.lo),
                                  _mm_shuffle_epi8(four_groups, _mm_set1_epi16(first))));
        return add(r, _mm_madd_epi16(_mm_maddubs_epi16(u.hi, v.hi),
                                     _mm_shuffle_epi8(four_groups, _mm_set1_epi16(second))));
    }
    QDIAL_INLINE static sums scaled_sum(const std::int16_t* sums_of_16, scales s) noexcept {
        return add(_mm_madd_epi16(load16(sums_of_16), s.lo),
                   _mm_madd_epi16(load16(sums_of_16 + 8), s.hi));
    }
    QDIAL_INLINE static ints<arch::sse4, 2> totals(const sums (&s)[8]) noexcept {
        ints<arch::sse4, 2> r;
        for (int k = 0; k < 2; ++k)
            r.r[k] = _mm_hadd_epi32(_mm_hadd_epi32(s[4 * k], s[4 * k + 1]),
                                    _mm_hadd_epi32(s[4 * k + 2], s[4 * k + 3]));
        return r;
    }
    template <std::size_t Stride>
    QDIAL_INLINE static floats<arch::sse4, 2> gather_halves(const void* p) noexcept {
        const auto at = [p](std::size_t k) {
            std::uint16_t bits;
            std::memcpy(&bits, static_cast<const std::uint8_t*>(p) + k * Stride, 2);
            return bits;
        };
        floats<arch::sse4, 2> r;
        r.r[0] = O::from_half(_mm_setr_epi32(at(0), at(1), at(2), at(3)));
        r.r[1] = O::from_half(_mm_setr_epi32(at(4), at(5), at(6), at(7)));
        return r;
    }
};

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
