// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>

#include "qdial/simd/bytes.hpp"
#include "qdial/simd/avx2_bytes.hpp"
#include "qdial/simd/avx512.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

/// Codes stay in 256 bits, which is what a block of 32 fills; they widen to 512 bits as floats.
template <>
struct byte_ops<arch::avx512> : byte_ops<arch::avx2> {
    using f = ops<arch::avx512>::f;
    using byte_ops<arch::avx2>::load;

    QDIAL_INLINE static bytes load_bit_mask(const std::uint8_t* p) noexcept {
        std::uint32_t field;
        std::memcpy(&field, p, 4);
        return _mm256_movm_epi8(field);
    }
    QDIAL_INLINE static void unsigned_to_floats(bytes a, f (&out)[2]) noexcept {
        out[0] = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm256_castsi256_si128(a)));
        out[1] = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm256_extracti128_si256(a, 1)));
    }
    QDIAL_INLINE static void signed_to_floats(bytes a, f (&out)[2]) noexcept {
        out[0] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(a)));
        out[1] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(a, 1)));
    }
    QDIAL_INLINE static void scales_to_floats(sixteen_bytes a, f (&out)[1]) noexcept {
        out[0] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(to_register(a)));
    }

    QDIAL_INLINE static f exact_mul_add(f a, f b, f c) noexcept { return _mm512_fmadd_ps(a, b, c); }
    QDIAL_INLINE static f exact_mul_sub(f a, f b, f c) noexcept { return _mm512_fmsub_ps(a, b, c); }

    QDIAL_INLINE static f splat_half(std::uint16_t bits) noexcept {
        return _mm512_cvtph_ps(_mm256_set1_epi16(static_cast<short>(bits)));
    }
    /// Two binary16 that stand side by side in memory, with one conversion.
    QDIAL_INLINE static void splat_halves(std::uint16_t first, std::uint16_t second, f& a,
                                          f& b) noexcept {
        const int both = static_cast<int>(first | static_cast<std::uint32_t>(second) << 16);
        const __m512 floats = _mm512_castps128_ps512(_mm_cvtph_ps(_mm_cvtsi32_si128(both)));
        a = _mm512_permutexvar_ps(_mm512_setzero_si512(), floats);
        b = _mm512_permutexvar_ps(_mm512_set1_epi32(1), floats);
    }
    QDIAL_INLINE static f load(const float16* p) noexcept {
        return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    }
    QDIAL_INLINE static f load(const bfloat16* p) noexcept {
        return _mm512_castsi512_ps(_mm512_slli_epi32(
            _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
    }
    QDIAL_INLINE static void store(float16* p, f a) noexcept {
        // Clears the payload of NaN as on AVX2.
        const __m256i half = _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT);
        const __m256i sign = _mm256_set1_epi16(static_cast<short>(0x8000));
        const __m256i limit = _mm256_set1_epi16(static_cast<short>(0xFE00));
        _mm256_storeu_si256(
            reinterpret_cast<__m256i*>(p),
            _mm256_and_si256(half, _mm256_min_epu16(_mm256_or_si256(half, sign), limit)));
    }
    QDIAL_INLINE static void store(bfloat16* p, f a) noexcept {
        const __m512i bits = _mm512_castps_si512(a);
        const __m512i upper = _mm512_srli_epi32(bits, 16);
        const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
        const __m512i rounded = _mm512_srli_epi32(
            _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
        const __m512i words = _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q),
                                                   upper, _mm512_set1_epi32(0x40));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(words));
    }
};

/// Sixteen codes, each in the low bits of a 32-bit lane; what stands above them is never read, so
/// that moving bits needs no mask.
template <>
struct code_lookup<arch::avx512> {
    using f = ops<arch::avx512>::f;
    static constexpr std::size_t length = 16;
    static constexpr int most_bits = 5;

    /// Lanes of which only the bits of `Mask` count.
    template <int Mask>
    struct field {
        __m512i v;
    };
    struct bytes {
        __m512i v;
        template <int Mask>
        QDIAL_INLINE bytes(field<Mask> a) noexcept : v(a.v) {
            static_assert((Mask & (Mask + 1)) == 0, "codes start at bit 0");
        }
    };
    struct splatted {
        std::uint8_t bits;
    };
    /// Bit k of lane k.
    struct diagonal {
        __m512i v;
    };

    QDIAL_INLINE static field<255> load(const void* p) noexcept {
        return {_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
    }
    template <std::size_t First>
    QDIAL_INLINE static field<15> load_nibbles(const std::uint8_t* p) noexcept {
        return move_bits<First == 0 ? 0 : 4, 0, 4>(load(p));
    }
    /// Reads four bytes, of which the first two count: a load can fill a register with 32 bits, not
    /// with 16. The formats have their nibbles behind the mask.
    QDIAL_INLINE static diagonal load_bit_mask(const std::uint8_t* p) noexcept {
        std::int32_t words;
        std::memcpy(&words, p, 4);
        return {_mm512_set1_epi32(words)};
    }
    QDIAL_INLINE static splatted splat(std::uint8_t x) noexcept { return {x}; }
    /// The diagonal as the fifth bit, the only one that formats keep in a mask: `b` is 16.
    QDIAL_INLINE static field<16> bit_and(diagonal a, [[maybe_unused]] splatted b) noexcept {
        const __m512i to_fifth =
            _mm512_setr_epi32(-4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
        return {_mm512_rorv_epi32(a.v, to_fifth)};
    }
    template <int From, int To, int Count, int Mask>
    QDIAL_INLINE static auto move_bits(field<Mask> a) noexcept {
        if constexpr (From > To) a.v = _mm512_srli_epi32(a.v, From - To);
        if constexpr (From < To) a.v = _mm512_slli_epi32(a.v, To - From);
        return field<((1 << Count) - 1) << To>{a.v};
    }
    template <int A, int B>
    QDIAL_INLINE static field<A | B> bit_or(field<A> a, field<B> b) noexcept {
        constexpr int select = 0xD8;  // third ? second : first
        return {_mm512_ternarylogic_epi32(b.v, a.v, _mm512_set1_epi32(A), select)};
    }

    /// Registers of a table of the floats of codes with `Bits` bits.
    template <int Bits>
    static constexpr std::size_t registers = Bits == 5 ? 2 : 1;

    /// The table of q = code - offset.
    template <int Bits, int Offset>
    QDIAL_INLINE static void set_codes(f (&table)[registers<Bits>]) noexcept {
        alignas(64) static constexpr auto codes = [] {
            std::array<float, 16 * registers<Bits>> q{};
            for (std::size_t k = 0; k < q.size(); ++k)
                q[k] = static_cast<float>(static_cast<int>(k % (1u << Bits)) - Offset);
            return q;
        }();
        for (std::size_t k = 0; k < registers<Bits>; ++k)
            table[k] = ops<arch::avx512>::load(codes.data() + 16 * k);
    }
    /// Sub-blocks of a super-block that one table holds.
    template <int Bits>
    static constexpr std::size_t sub_blocks = Bits < 4 ? 16u >> Bits : 1;

    /// The scales of table `Table`, each where the codes of its sub-block are.
    template <int Bits, std::size_t Table>
    QDIAL_INLINE static f spread_scales(f scales) noexcept {
        alignas(64) static constexpr auto sub_block = [] {
            std::array<std::int32_t, 16> k{};
            for (std::size_t i = 0; i < 16; ++i)
                k[i] = static_cast<std::int32_t>((16 * Table + i) >> std::min(Bits, 4));
            return k;
        }();
        return _mm512_permutexvar_ps(ops<arch::avx512>::load(sub_block.data()), scales);
    }
    /// The codes of sub-block `Sub` of the table's.
    template <int Bits, std::size_t Sub>
    QDIAL_INLINE static bytes in_sub_block(bytes codes) noexcept {
        if constexpr (Bits < 4)
            return bit_or(field<(1 << Bits) - 1>{codes.v},
                          field<15 ^ ((1 << Bits) - 1)>{_mm512_set1_epi32(Sub << Bits)});
        else
            return codes;
    }
    QDIAL_INLINE static f look_up(const f (&table)[1], bytes codes) noexcept {
        return _mm512_permutexvar_ps(codes.v, table[0]);
    }
    QDIAL_INLINE static f look_up(const f (&table)[2], bytes codes) noexcept {
        return _mm512_permutex2var_ps(table[0], codes.v, table[1]);
    }
};

#if QDIAL_WITH_AVX512_VNNI
template <>
struct code_lookup<arch::avx512_vnni> : code_lookup<arch::avx512> {};
template <>
struct byte_ops<arch::avx512_vnni> : byte_ops<arch::avx512> {
    QDIAL_INLINE static sums dot(bytes u, const std::int8_t* a) noexcept {
        return _mm256_dpbusd_epi32(zero(), u, load(a));
    }
    template <int Offset>
    QDIAL_INLINE static sums dot_minus(bytes u, const std::int8_t* a) noexcept {
        const __m256i v = load(a);
        return sub(_mm256_dpbusd_epi32(zero(), u, v),
                   _mm256_dpbusd_epi32(zero(), _mm256_set1_epi8(Offset), v));
    }
    QDIAL_INLINE static sums dot_signed(bytes s, const std::int8_t* a) noexcept {
        return _mm256_dpbusd_epi32(zero(), _mm256_abs_epi8(s), _mm256_sign_epi8(load(a), s));
    }
    template <std::size_t Group>
    QDIAL_INLINE static sums add_scaled_dot(sums r, bytes u, const std::int8_t* a,
                                            scales s) noexcept {
        return _mm256_dpwssd_epi32(r, _mm256_maddubs_epi16(u, load(a)), scales_of_group<Group>(s));
    }
};
template <>
struct byte_ops<arch::avx512_amx> : byte_ops<arch::avx512_vnni> {};
#endif

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
