// SPDX-License-Identifier: Apache-2.0
//
// `row_ops<Arch>`: sixteen matrix rows side by side, one per 32-bit lane, as the packed kernels
// need them. This file holds the definition on arrays; each backend has its own file beside it.
//
//     word      sixteen lanes of four bytes, of two 16-bit integers or of one 32-bit integer
//     reals     sixteen floats
//     part      sums of code times activation on their way to `word`
//
// How a backend multiplies codes with signed activations (at least -127) is its `code_kind`:
//
//     signed_in_32     codes are signed bytes, a part is a 32-bit sum
//     unsigned_in_32   codes are unsigned bytes, a part is a 32-bit sum
//     unsigned_in_16   codes are unsigned bytes of at most 127, a part is two 16-bit sums: of the
//                      bytes 0 and 1, and of the bytes 2 and 3
//
// `add_scaled` of the unsigned kinds takes parts (each of the 16-bit sums) of at most 32767 in
// magnitude. Integer results are exact as long as nothing overflows, which kernels/block_plan.hpp
// sees to; they wrap otherwise.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "qdial/endian.hpp"
#include "qdial/float16.hpp"
#include "qdial/simd/simd.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

/// Rows that packed matrices interleave: the lanes of every backend's `row_ops`.
inline constexpr std::size_t interleaved_rows = 16;

enum class code_kind { signed_in_32, unsigned_in_32, unsigned_in_16 };

/// a * b + c rounded once, where no instruction does it: the product of two floats is exact in
/// double; the sum is rounded to odd there, after which the second rounding is right.
QDIAL_INLINE float fused_multiply_add(float a, float b, float c) noexcept {
    const double product = static_cast<double>(a) * static_cast<double>(b);
    const double addend = static_cast<double>(c);
    const double sum = product + addend;
    // The exact error of the sum (Knuth's two-sum; nothing here can be contracted).
    const double back = sum - product;
    const double error = (product - (sum - back)) + (addend - back);
    auto bits = std::bit_cast<std::uint64_t>(sum);
    // An infinite or NaN sum has a NaN error.
    if ((error < 0.0 || error > 0.0) && (bits & 1) == 0)
        bits += (error > 0.0) == (sum > 0.0) ? std::uint64_t{1} : ~std::uint64_t{0};
    return static_cast<float>(std::bit_cast<double>(bits));
}

/// The definition, on arrays. Inlining is the compiler's choice: forced, these loops take it
/// minutes.
template <class Arch>
struct array_row_ops {
    static constexpr std::size_t rows = interleaved_rows;
    static constexpr bool is_array = true;
    static constexpr code_kind kind = code_kind::signed_in_32;
    /// Tiles of sixteen rows and columns that a GEMM kernel keeps in registers.
    static constexpr std::size_t gemm_tiles = 1, gemm_columns = 2;
    static constexpr std::size_t float_gemm_tiles = 1, float_gemm_columns = 2;
    /// Tiles of a GEMV kernel: for super-blocks, for blocks of 32 and for float weights.
    static constexpr std::size_t gemv_tiles = 1, simple_gemv_tiles = 1, float_gemv_tiles = 1;

    struct word {
        std::uint32_t v[rows];
    };
    struct reals {
        float v[rows];
    };
    using part = word;

    template <class R, class Fn>
    static R each(Fn fn) noexcept {
        R r;
        for (std::size_t k = 0; k < rows; ++k) r.v[k] = fn(k);
        return r;
    }

    static std::uint32_t load_u32(const void* p) noexcept {
        std::uint32_t x;
        std::memcpy(&x, p, sizeof x);
        return little_endian(x);
    }
    static word load(const void* p) noexcept {
        word r;
        std::memcpy(r.v, p, sizeof r.v);
        for (auto& x : r.v) x = little_endian(x);
        return r;
    }
    /// Stored words are read back by `load` only.
    static void store(void* p, word a) noexcept {
        for (auto& x : a.v) x = little_endian(x);
        std::memcpy(p, a.v, sizeof a.v);
    }
    /// Every lane four bytes, in the order of memory; or a native 32-bit integer; or two native
    /// 16-bit integers, the first one in the low half.
    static word broadcast_bytes(const void* p) noexcept { return splat(load_u32(p)); }
    static word broadcast_word(const void* p) noexcept { return splat(native<std::uint32_t>(p)); }
    static word broadcast_pair(const void* p) noexcept {
        const char* second = static_cast<const char*>(p) + 2;
        return splat(native<std::uint16_t>(p) |
                     static_cast<std::uint32_t>(native<std::uint16_t>(second)) << 16);
    }
    template <class T>
    static T native(const void* p) noexcept {
        T x;
        std::memcpy(&x, p, sizeof x);
        return x;
    }
    static word splat(std::uint32_t x) noexcept {
        return each<word>([=](std::size_t) { return x; });
    }
    static word zero() noexcept { return splat(0); }

    static word bit_and(word a, word b) noexcept {
        return each<word>([&](std::size_t k) { return a.v[k] & b.v[k]; });
    }
    static word bit_or(word a, word b) noexcept {
        return each<word>([&](std::size_t k) { return a.v[k] | b.v[k]; });
    }
    static word bit_xor(word a, word b) noexcept {
        return each<word>([&](std::size_t k) { return a.v[k] ^ b.v[k]; });
    }
    static word add(word a, word b) noexcept {
        return each<word>([&](std::size_t k) { return a.v[k] + b.v[k]; });
    }
    static word sub_bytes(word a, word b) noexcept {
        return each<word>([&](std::size_t k) {
            return ((a.v[k] | 0x80808080u) - (b.v[k] & 0x7F7F7F7Fu)) ^
                   ((a.v[k] ^ ~b.v[k]) & 0x80808080u);
        });
    }
    /// Bits of 32-bit lanes.
    template <int S>
    static word shl(word a) noexcept {
        return each<word>([&](std::size_t k) { return a.v[k] << S; });
    }
    template <int S>
    static word shr(word a) noexcept {
        return each<word>([&](std::size_t k) { return a.v[k] >> S; });
    }
    template <int S>
    static word sar(word a) noexcept {
        return each<word>([&](std::size_t k) {
            return static_cast<std::uint32_t>(static_cast<std::int32_t>(a.v[k]) >> S);
        });
    }

    static std::int32_t byte(std::uint32_t x, int k) noexcept {
        return static_cast<std::int8_t>(static_cast<std::uint8_t>(x >> 8 * k & 0xFF));
    }
    static std::int32_t half(std::uint32_t x, int k) noexcept {
        return static_cast<std::int16_t>(static_cast<std::uint16_t>(x >> 16 * k & 0xFFFF));
    }

    static part zero_part() noexcept { return zero(); }
    /// A part that starts at these sums.
    static part part_from(word sums) noexcept { return sums; }
    /// part + the four products of each lane.
    static part multiply_add(part p, word codes, word activations) noexcept {
        return each<word>([&](std::size_t k) {
            std::int32_t sum = 0;
            for (int j = 0; j < 4; ++j) sum += byte(codes.v[k], j) * byte(activations.v[k], j);
            return p.v[k] + static_cast<std::uint32_t>(sum);
        });
    }
    static word sums_of(part p) noexcept { return p; }
    /// 32-bit integers as `add_scaled` takes them.
    static word to_scale(word scale) noexcept { return scale; }
    /// sums + part * scale.
    static word add_scaled(word sums, part p, word scale) noexcept {
        return each<word>([&](std::size_t k) { return sums.v[k] + p.v[k] * scale.v[k]; });
    }
    /// sums + the two products of 16-bit integers.
    static word add_pairs(word sums, word a, word b) noexcept {
        return each<word>([&](std::size_t k) {
            return sums.v[k] + static_cast<std::uint32_t>(half(a.v[k], 0) * half(b.v[k], 0) +
                                                          half(a.v[k], 1) * half(b.v[k], 1));
        });
    }

    static reals load(const float* p) noexcept {
        reals r;
        std::memcpy(r.v, p, sizeof r.v);
        return r;
    }
    static void store(float* p, reals a) noexcept { std::memcpy(p, a.v, sizeof a.v); }
    static reals broadcast_float(const void* p) noexcept {
        return each<reals>([x = native<float>(p)](std::size_t) { return x; });
    }
    static reals zero_reals() noexcept {
        return each<reals>([](std::size_t) { return 0.0f; });
    }
    static std::uint16_t load_u16(const void* p, std::size_t k) noexcept {
        std::uint16_t x;
        std::memcpy(&x, static_cast<const char*>(p) + 2 * k, sizeof x);
        return little_endian(x);
    }
    /// Sixteen little-endian binary16, bfloat16 or binary32.
    static reals load_halves(const void* p) noexcept {
        return each<reals>([=](std::size_t k) { return to_float(float16{load_u16(p, k)}); });
    }
    static reals load_bfloats(const void* p) noexcept {
        return each<reals>([=](std::size_t k) {
            return std::bit_cast<float>(static_cast<std::uint32_t>(load_u16(p, k)) << 16);
        });
    }
    static reals load_floats(const void* p) noexcept {
        return each<reals>([=](std::size_t k) {
            return std::bit_cast<float>(load_u32(static_cast<const char*>(p) + 4 * k));
        });
    }
    static reals to_reals(word a) noexcept {
        return each<reals>(
            [&](std::size_t k) { return static_cast<float>(static_cast<std::int32_t>(a.v[k])); });
    }
    static reals mul(reals a, reals b) noexcept {
        return each<reals>([&](std::size_t k) { return unfused(a.v[k] * b.v[k]); });
    }
    /// a * b + c and c - a * b, rounded once.
    static reals fma(reals a, reals b, reals c) noexcept {
        return each<reals>(
            [&](std::size_t k) { return fused_multiply_add(a.v[k], b.v[k], c.v[k]); });
    }
    static reals fnma(reals a, reals b, reals c) noexcept {
        return each<reals>(
            [&](std::size_t k) { return fused_multiply_add(-a.v[k], b.v[k], c.v[k]); });
    }
    /// Starts to fetch the cache line of `p` when `a` is computed: tied to it, because the compiler
    /// would gather all prefetches of a block in one place, more than the processor can keep track
    /// of.
    template <class R>
    static void prefetch(const void*, R&) noexcept {}
};

/// The sixteen rows of a backend; a tag without its own says which one it takes.
template <class Arch>
struct row_ops;
template <>
struct row_ops<arch::generic> : array_row_ops<arch::generic> {};
template <>
struct row_ops<arch::emulated_amx> : array_row_ops<arch::emulated_amx> {};
template <std::size_t Bits>
struct row_ops<arch::emulated<Bits>> : array_row_ops<arch::emulated<Bits>> {};

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"

#if QDIAL_WITH_AVX512
#include "qdial/simd/avx512_rows.hpp"
#elif QDIAL_WITH_AVX2
#include "qdial/simd/avx2_rows.hpp"
#elif QDIAL_WITH_SSE4
#include "qdial/simd/sse4_rows.hpp"
#elif QDIAL_WITH_NEON
#include "qdial/simd/neon_rows.hpp"
#endif
