// SPDX-License-Identifier: Apache-2.0
//
// `byte_ops<Arch>`: primitives on codes, 32 bytes at a time, as decoders and dot products need
// them. This file holds the definition on arrays (generic and emulated widths); each backend has
// its own file beside it.
//
//     bytes     32 codes
//     sums      32-bit integers whose total is a dot product; added up by `totals`
//     scales    sixteen 8-bit integer scales, one per 16 of 256 elements
//
// Integer results are exact. Codes that enter a dot product as unsigned are at most 127, because
// backends without an instruction for unsigned times signed bytes take them as signed.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "qdial/endian.hpp"
#include "qdial/float16.hpp"
#include "qdial/simd/lanes.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

/// Makes the compiler read an array back from memory: a load that fills a register with one
/// element is cheaper than the shuffles that would take it from another register.
template <class T, std::size_t N>
QDIAL_INLINE void keep_in_memory(T (&array)[N]) noexcept {
#if defined(_MSC_VER) && !defined(__clang__)
    static_cast<void>(array);
#else
    asm("" : "+m"(array));
#endif
}

/// Sixteen bytes in two integers: byte i is (i < 8 ? low : high) >> 8 (i % 8). Scales are unpacked
/// in this form, because it passes from integer to vector registers without a detour by memory.
struct sixteen_bytes {
    std::uint64_t low, high;

    QDIAL_INLINE constexpr std::int8_t operator[](std::size_t i) const noexcept {
        const std::uint64_t half = i < 8 ? low : high;
        return static_cast<std::int8_t>(static_cast<std::uint8_t>(half >> 8 * (i % 8) & 0xFF));
    }
};

/// The backend of the float part of dot products, which works on eight lanes: the same, or the
/// weaker one that it shares its eight-lane registers with.
template <class Arch>
struct eight_lanes {
    using type = Arch;
};
template <std::size_t Bits>
    requires(Bits > 256)
struct eight_lanes<arch::emulated<Bits>> {
    using type = arch::emulated<256>;
};
template <>
struct eight_lanes<arch::avx2_vnni> {
    using type = arch::avx2;
};
template <>
struct eight_lanes<arch::avx512> {
    using type = arch::avx2;
};
template <>
struct eight_lanes<arch::avx512_vnni> {
    using type = arch::avx2;
};
template <>
struct eight_lanes<arch::avx512_amx> {
    using type = arch::avx2;
};
template <>
struct eight_lanes<arch::neon_dotprod> {
    using type = arch::neon;
};
template <>
struct eight_lanes<arch::neon_i8mm> {
    using type = arch::neon;
};
template <class Arch>
using eight_lane_arch = typename eight_lanes<Arch>::type;
template <class Arch>
using floats8 = floats<eight_lane_arch<Arch>, 8 / ops<eight_lane_arch<Arch>>::width>;
template <class Arch>
using ints8 = ints<eight_lane_arch<Arch>, 8 / ops<eight_lane_arch<Arch>>::width>;

/// The definition, on arrays. `Arch` has `array_ops` of any width.
template <class Arch>
struct array_byte_ops {
    using O = ops<Arch>;
    using f = typename O::f;
    static constexpr std::size_t width = O::width;
    static constexpr std::size_t length = 32;

    struct bytes {
        std::uint8_t v[32];
    };
    struct sums {
        std::int32_t total;
    };
    using scales = sixteen_bytes;

    template <class Fn>
    QDIAL_INLINE static bytes each(Fn fn) noexcept {
        bytes r;
        for (std::size_t k = 0; k < 32; ++k) r.v[k] = static_cast<std::uint8_t>(fn(k));
        return r;
    }

    // ---- codes

    QDIAL_INLINE static bytes load(const void* p) noexcept {
        bytes r;
        std::memcpy(r.v, p, 32);
        return r;
    }
    /// Elements `First` … of the 32 in 16 bytes: first the low nibbles, then the high nibbles.
    template <std::size_t First>
    QDIAL_INLINE static bytes load_nibbles(const std::uint8_t* p) noexcept {
        return each([=](std::size_t k) { return k < 16 ? p[k] & 15 : p[k - 16] >> 4; });
    }
    /// Byte k is 0xFF where bit k of the 32-bit little-endian field is set, else 0.
    QDIAL_INLINE static bytes load_bit_mask(const std::uint8_t* p) noexcept {
        return each([=](std::size_t k) { return (p[k / 8] >> k % 8) & 1 ? 0xFF : 0; });
    }
    QDIAL_INLINE static bytes splat(std::uint8_t x) noexcept {
        return each([=](std::size_t) { return x; });
    }
    QDIAL_INLINE static bytes bit_and(bytes a, bytes b) noexcept {
        return each([&](std::size_t k) { return a.v[k] & b.v[k]; });
    }
    QDIAL_INLINE static bytes bit_or(bytes a, bytes b) noexcept {
        return each([&](std::size_t k) { return a.v[k] | b.v[k]; });
    }
    QDIAL_INLINE static bytes sub_bytes(bytes a, bytes b) noexcept {
        return each([&](std::size_t k) { return a.v[k] - b.v[k]; });
    }
    /// Takes `Count` bits from bit `From` of each byte to bit `To`, zeros elsewhere.
    template <int From, int To, int Count>
    QDIAL_INLINE static bytes move_bits(bytes a) noexcept {
        return each([&](std::size_t k) { return (a.v[k] >> From & ((1 << Count) - 1)) << To; });
    }

    // ---- codes and scales as floats

    static constexpr float signed_unit = 1.0f;
    QDIAL_INLINE static void unsigned_to_floats(bytes a, f (&out)[32 / width]) noexcept {
        for (std::size_t k = 0; k < 32; ++k)
            out[k / width].v[k % width] = static_cast<float>(a.v[k]);
    }
    /// In units of `signed_unit`, a power of two: the codes are out[…] * signed_unit.
    QDIAL_INLINE static void signed_to_floats(bytes a, f (&out)[32 / width]) noexcept {
        for (std::size_t k = 0; k < 32; ++k)
            out[k / width].v[k % width] = static_cast<float>(static_cast<std::int8_t>(a.v[k]));
    }
    QDIAL_INLINE static void scales_to_floats(sixteen_bytes a, f (&out)[16 / width]) noexcept {
        for (std::size_t k = 0; k < 16; ++k) out[k / width].v[k % width] = static_cast<float>(a[k]);
    }

    /// a b + c and a b - c where the product needs no rounding: backends may fuse them.
    QDIAL_INLINE static f exact_mul_add(f a, f b, f c) noexcept { return O::add(O::mul(a, b), c); }
    QDIAL_INLINE static f exact_mul_sub(f a, f b, f c) noexcept { return O::sub(O::mul(a, b), c); }

    // ---- 16-bit floats

    /// All lanes the binary16 with these bits.
    QDIAL_INLINE static f splat_half(std::uint16_t bits) noexcept {
        return O::splat(to_float(float16{bits}));
    }
    /// Widens `width` stored (little-endian) values.
    QDIAL_INLINE static f load(const float16* p) noexcept {
        return O::template each<f>(
            [=](std::size_t k) { return to_float(float16{little_endian(p[k].bits)}); });
    }
    QDIAL_INLINE static f load(const bfloat16* p) noexcept {
        return O::template each<f>(
            [=](std::size_t k) { return to_float(bfloat16{little_endian(p[k].bits)}); });
    }
    /// Rounds to nearest even and stores in the host's byte order.
    QDIAL_INLINE static void store(float16* p, f a) noexcept {
        for (std::size_t k = 0; k < width; ++k) p[k] = to_float16(a.v[k]);
    }
    QDIAL_INLINE static void store(bfloat16* p, f a) noexcept {
        for (std::size_t k = 0; k < width; ++k) p[k] = to_bfloat16(a.v[k]);
    }

    // ---- integer dot products

    QDIAL_INLINE static sums zero() noexcept { return {0}; }
    // Two's complement, wrapping.
    QDIAL_INLINE static sums add(sums a, sums b) noexcept {
        return {O::wrap(O::u(a.total) + O::u(b.total))};
    }
    QDIAL_INLINE static sums sub(sums a, sums b) noexcept {
        return {O::wrap(O::u(a.total) - O::u(b.total))};
    }
    template <int S>
    QDIAL_INLINE static sums shl(sums a) noexcept {
        return {O::wrap(O::u(a.total) << S)};
    }
    /// Unsigned codes (at most 127) times signed ones.
    QDIAL_INLINE static sums dot(bytes u, const std::int8_t* a) noexcept {
        return dot_minus<0>(u, a);
    }
    /// The same with `Offset` subtracted from the unsigned codes.
    template <int Offset>
    QDIAL_INLINE static sums dot_minus(bytes u, const std::int8_t* a) noexcept {
        std::int32_t total = 0;
        for (std::size_t k = 0; k < 32; ++k) total += (u.v[k] - Offset) * a[k];
        return {total};
    }
    /// Signed codes times signed ones; the latter at least -127.
    QDIAL_INLINE static sums dot_signed(bytes s, const std::int8_t* a) noexcept {
        std::int32_t total = 0;
        // A cast of each code would not do: with -mavx512vnni gcc 12 then multiplies unsigned
        // codes.
        std::int8_t codes[32];
        std::memcpy(codes, s.v, 32);
        for (std::size_t k = 0; k < 32; ++k) total += codes[k] * a[k];
        return {total};
    }

    /// The sums of codes 0 … 15 and 16 … 31.
    QDIAL_INLINE static void sums_of_16(const std::int8_t* p, std::int16_t (&out)[2]) noexcept {
        std::int16_t sums[2] = {0, 0};
        for (std::size_t k = 0; k < 32; ++k)
            sums[k / 16] = static_cast<std::int16_t>(sums[k / 16] + p[k]);
        std::memcpy(out, sums, sizeof sums);
    }

    /// Scale k for elements 16k … 16k + 15.
    QDIAL_INLINE static scales scales_of_16(sixteen_bytes s) noexcept { return s; }
    /// Scale k (of eight, in the low half) for elements 32k … 32k + 31.
    QDIAL_INLINE static scales scales_of_32(sixteen_bytes s) noexcept {
        scales r{0, 0};
        for (std::size_t k = 0; k < 16; ++k) {
            const std::uint64_t byte = s.low >> 8 * (k / 2) & 0xFF;
            (k < 8 ? r.low : r.high) |= byte << 8 * (k % 8);
        }
        return r;
    }
    /// Adds, for elements 32 Group … 32 Group + 31 of 256, unsigned codes (at most 127) times
    /// signed ones times the scale of their 16.
    template <std::size_t Group>
    QDIAL_INLINE static sums add_scaled_dot(sums r, bytes u, const std::int8_t* a,
                                            scales s) noexcept {
        std::int32_t first = 0, second = 0;
        for (std::size_t k = 0; k < 16; ++k) {
            first += u.v[k] * a[k];
            second += u.v[k + 16] * a[k + 16];
        }
        return add(r, {s[2 * Group] * first + s[2 * Group + 1] * second});
    }
    /// Each of 16 sums of 16 codes times its scale.
    QDIAL_INLINE static sums scaled_sum(const std::int16_t* sums_of_16, scales s) noexcept {
        sums r{0};
        for (std::size_t k = 0; k < 16; ++k) {
            r = add(r, {s[k] * little_endian(sums_of_16[k])});
        }
        return r;
    }
    /// Lane k is the dot product of s[k].
    QDIAL_INLINE static ints8<Arch> totals(const sums (&s)[8]) noexcept {
        std::int32_t lanes[8];
        for (std::size_t k = 0; k < 8; ++k) lanes[k] = s[k].total;
        return ints8<Arch>::load(lanes);
    }
    /// Lane k is the binary16 at p + k * Stride bytes.
    template <std::size_t Stride>
    QDIAL_INLINE static floats8<Arch> gather_halves(const void* p) noexcept {
        float lanes[8];
        for (std::size_t k = 0; k < 8; ++k) {
            std::uint16_t bits;
            std::memcpy(&bits, static_cast<const std::uint8_t*>(p) + k * Stride, 2);
            lanes[k] = to_float(float16{little_endian(bits)});
        }
        return floats8<Arch>::load(lanes);
    }
};

template <class Arch>
struct byte_ops;

/// Codes on their way to floats: byte_ops, or what a backend widens faster, of `length` codes.
template <class Arch>
struct widening_bytes : byte_ops<Arch> {};

/// Where a shuffle can pick floats by codes: what the `length` codes of a decoder become without
/// conversion, from a table of every code's float. `most_bits` is the longest code that it takes;
/// backends without it have 0.
template <class Arch>
struct code_lookup {
    static constexpr int most_bits = 0;
};

template <>
struct byte_ops<arch::generic> : array_byte_ops<arch::generic> {};

template <>
struct byte_ops<arch::emulated_amx> : array_byte_ops<arch::emulated_amx> {};
template <std::size_t Bits>
struct byte_ops<arch::emulated<Bits>> : array_byte_ops<arch::emulated<Bits>> {};

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"

#if QDIAL_WITH_AVX512
#include "qdial/simd/avx512_bytes.hpp"
#elif QDIAL_WITH_AVX2
#include "qdial/simd/avx2_bytes.hpp"
#elif QDIAL_WITH_SSE4
#include "qdial/simd/sse4_bytes.hpp"
#elif QDIAL_WITH_NEON
#include "qdial/simd/neon_bytes.hpp"
#endif
