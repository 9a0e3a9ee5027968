// SPDX-License-Identifier: Apache-2.0
//
// Activations as the packed kernels take them.
#pragma once

#include <array>
#include <bit>
#include <cfloat>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <type_traits>

#include "qdial/float16.hpp"
#include "qdial/formats/f32.hpp"
#include "qdial/kernels/activations.hpp"
#include "qdial/kernels/executor.hpp"
#include "qdial/kernels/interleaved.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

namespace detail {
template <packable_format F>
struct packed_activation {
    using type = typename F::activation;
};
template <packable_float_format F>
struct packed_activation<F> {
    using type = f32;
};
}  // namespace detail

/// The format of the activations that packed weights of format F are multiplied with: F::activation
/// (Q8_0, Q8_1 or Q8_K), and F32 for weights in F32, F16 and BF16. Matrices of the same partner
/// share their activations.
template <packable_format F>
using packed_activation = typename detail::packed_activation<F>::type;

/// A format that `pack_activations` makes.
template <class A>
concept packed_activation_format = activation_format<A> || std::same_as<A, f32>;

/// Bytes of `n` packed rows of `row_length` activations; row_length is a multiple of
/// A::block_length.
template <packed_activation_format A>
[[nodiscard]] constexpr std::size_t packed_activations_size(std::size_t n,
                                                            std::size_t row_length) noexcept;

/// A view of `n` packed rows of activations.
template <packed_activation_format A>
struct packed_activations {
    const std::byte* data;
    std::size_t n;           ///< rows
    std::size_t row_length;  ///< elements per row
};

/// Packs `n` rows of activations: row j starts at x + j * stride (in elements) and has `row_length`
/// elements, of float, float16 or bfloat16. `out` has packed_activations_size<A>(n, row_length)
/// bytes, at any alignment (64 is fastest); it is read by kernels of the same program only.
///
/// For Q8_0, Q8_1 and Q8_K the codes are those of `quantize_activations`; scales, and Q8_1's scaled
/// sums, stay in binary32. A block with a NaN or an infinity has the scale NaN and codes 0: the
/// results of its row are NaN, and no other's. For F32 the elements are kept as they are.
template <packed_activation_format A, class Arch = default_arch, class T,
          class Executor = serial_executor>
requires std::same_as<T, float> || std::same_as<T, float16> || std::same_as<T, bfloat16>
void pack_activations(const T* x, std::size_t n, std::size_t row_length, std::size_t stride,
                      std::span<std::byte> out, Executor&& executor = {});

// ---- implementation

namespace kernels {

/// 32 activations for blocks with one scale.
struct packed_q8 {
    std::int8_t codes[32];
    float d;
    float s;                 ///< d times the sum of the codes, as Q8_1 stores it
    std::int32_t minus_sum;  ///< minus the sum of the codes
    std::int32_t unused;
};
static_assert(sizeof(packed_q8) == 48);

/// 256 activations for super-blocks. Sums are in the order 0 2 1 3 of every four, in which bytes
/// of a word become pairs of 16-bit integers.
struct packed_q8_k {
    std::int8_t codes[256];
    std::int16_t sums_of_16[16];
    std::int16_t sums_of_32[8];
    float d;
    std::int32_t unused[3];
    std::int32_t minus_16_sums[16];   ///< -16 times the sum of 16 codes
    std::int32_t minus_32_sums[32];   ///< -32 times the sum of 8 codes
    std::int16_t minus_32_pairs[32];  ///< -32 times the sums, of 16 codes, of those with (index
                                      ///< mod 4) < 2 and of the others
};
static_assert(sizeof(packed_q8_k) == 576);

template <class A>
struct packed_record;
template <>
struct packed_record<q8_0> {
    using type = packed_q8;
    static constexpr std::size_t length = 32;
};
template <>
struct packed_record<q8_1> : packed_record<q8_0> {};
template <>
struct packed_record<q8_k> {
    using type = packed_q8_k;
    static constexpr std::size_t length = 256;
};
template <>
struct packed_record<f32> {
    using type = float;
    static constexpr std::size_t length = 1;
};

/// Where element i of every four goes: 0 2 1 3.
constexpr std::size_t pair_order(std::size_t i) noexcept {
    return i / 4 * 4 + (i % 4 == 1 ? 2 : i % 4 == 2 ? 1 : i % 4);
}

template <class T>
QDIAL_INLINE void put(std::byte* record, std::size_t at, const T& value) noexcept {
    std::memcpy(record + at, &value, sizeof value);
}

/// First the codes and scales of all records, then their sums: the codes just stored could not be
/// loaded again without waiting for them.
template <class Arch>
QDIAL_INLINE void encode_record(const float* x, std::byte* record, packed_record<q8_0>) noexcept {
    auto* codes = reinterpret_cast<std::int8_t*>(record) + offsetof(packed_q8, codes);
    const float d = encode_q8<Arch>(x, codes, [=]() noexcept {
        std::memset(codes, 0, sizeof(packed_q8::codes));
        return std::numeric_limits<float>::quiet_NaN();
    });
    put(record, offsetof(packed_q8, d), d);
}
template <class Arch>
QDIAL_INLINE void add_sums(std::byte* record, packed_record<q8_0>) noexcept {
    std::int16_t sums[2];
    simd::byte_ops<Arch>::sums_of_16(
        reinterpret_cast<const std::int8_t*>(record) + offsetof(packed_q8, codes), sums);
    const std::int32_t sum = sums[0] + sums[1];
    float d;
    std::memcpy(&d, record + offsetof(packed_q8, d), sizeof d);
    put(record, offsetof(packed_q8, s), simd::unfused(static_cast<float>(sum) * d));
    put(record, offsetof(packed_q8, minus_sum), -sum);
    put(record, offsetof(packed_q8, unused), std::int32_t{0});
}

template <class Arch>
QDIAL_INLINE void encode_record(const float* x, std::byte* record, packed_record<q8_k>) noexcept {
    auto* codes = reinterpret_cast<std::int8_t*>(record) + offsetof(packed_q8_k, codes);
    const std::int32_t largest = largest_magnitude_bits<Arch>(x);
    float d = std::numeric_limits<float>::quiet_NaN();
    if (largest >= 0x7F800000) [[unlikely]]
        std::memset(codes, 0, sizeof(packed_q8_k::codes));
    else
        d = encode_q8_k_codes<Arch>(x, largest, codes);
    put(record, offsetof(packed_q8_k, d), d);
}
template <class Arch>
QDIAL_INLINE void add_sums(std::byte* record, packed_record<q8_k>) noexcept {
    // By powers of two, all in the order of the elements: of 2, of 2 that are 2 apart, of 8, of 16.
    std::int8_t codes[256];
    std::memcpy(codes, record + offsetof(packed_q8_k, codes), sizeof codes);
    std::int16_t pairs[128], fours[64], eights[32], sixteens[16];
    for (std::size_t i = 0; i < 128; ++i)
        pairs[i] = static_cast<std::int16_t>(codes[2 * i] + codes[2 * i + 1]);
    for (std::size_t u = 0; u < 32; ++u)
        for (std::size_t k = 0; k < 2; ++k)
            fours[2 * u + k] = static_cast<std::int16_t>(pairs[4 * u + k] + pairs[4 * u + 2 + k]);
    for (std::size_t u = 0; u < 32; ++u)
        eights[u] = static_cast<std::int16_t>(fours[2 * u] + fours[2 * u + 1]);
    for (std::size_t s = 0; s < 16; ++s)
        sixteens[s] = static_cast<std::int16_t>(eights[2 * s] + eights[2 * s + 1]);

    packed_q8_k sums;
    for (std::size_t s = 0; s < 16; ++s) {
        sums.sums_of_16[pair_order(s)] = sixteens[s];
        sums.minus_16_sums[s] = -16 * sixteens[s];
    }
    for (std::size_t t = 0; t < 8; ++t)
        sums.sums_of_32[pair_order(t)] =
            static_cast<std::int16_t>(sixteens[2 * t] + sixteens[2 * t + 1]);
    for (std::size_t u = 0; u < 32; ++u) sums.minus_32_sums[u] = -32 * eights[u];
    for (std::size_t s = 0; s < 16; ++s)
        for (std::size_t k = 0; k < 2; ++k)
            sums.minus_32_pairs[2 * s + k] =
                static_cast<std::int16_t>(-32 * (fours[4 * s + k] + fours[4 * s + 2 + k]));
    put(record, offsetof(packed_q8_k, sums_of_16), sums.sums_of_16);
    put(record, offsetof(packed_q8_k, sums_of_32), sums.sums_of_32);
    put(record, offsetof(packed_q8_k, unused), std::array<std::int32_t, 3>{});
    put(record, offsetof(packed_q8_k, minus_16_sums), sums.minus_16_sums);
    put(record, offsetof(packed_q8_k, minus_32_sums), sums.minus_32_sums);
    put(record, offsetof(packed_q8_k, minus_32_pairs), sums.minus_32_pairs);
}

QDIAL_INLINE float widen(float x) noexcept { return x; }
QDIAL_INLINE float widen(float16 x) noexcept { return to_float(x); }
QDIAL_INLINE float widen(bfloat16 x) noexcept { return to_float(x); }

/// One row. `out` may have any alignment.
template <class A, class Arch, class T>
void pack_row(const T* x, std::size_t row_length, std::byte* out) noexcept {
    if constexpr (std::same_as<A, f32>) {
        if constexpr (std::same_as<T, float>)
            std::memcpy(out, x, row_length * sizeof(float));
        else
            for (std::size_t e = 0; e < row_length; ++e) put(out, e * sizeof(float), widen(x[e]));
    } else {
        using record = packed_record<A>;
        constexpr std::size_t bytes = sizeof(typename record::type);
        const std::size_t records = row_length / record::length;
        for (std::size_t r = 0; r < records; ++r, x += record::length) {
            if constexpr (std::same_as<T, float>) {
                encode_record<Arch>(x, out + r * bytes, record{});
            } else {
                float elements[record::length];
                for (std::size_t k = 0; k < record::length; ++k) elements[k] = widen(x[k]);
                encode_record<Arch>(elements, out + r * bytes, record{});
            }
        }
        for (std::size_t r = 0; r < records; ++r) add_sums<Arch>(out + r * bytes, record{});
    }
}

/// Bytes of one packed row.
template <class A>
constexpr std::size_t packed_row_bytes(std::size_t row_length) noexcept {
    return row_length / packed_record<A>::length * sizeof(typename packed_record<A>::type);
}

}  // namespace kernels

template <packed_activation_format A>
constexpr std::size_t packed_activations_size(std::size_t n, std::size_t row_length) noexcept {
    return n * kernels::packed_row_bytes<A>(row_length);
}

template <packed_activation_format A, class Arch, class T, class Executor>
requires std::same_as<T, float> || std::same_as<T, float16> || std::same_as<T, bfloat16>
void pack_activations(const T* x, std::size_t n, std::size_t row_length, std::size_t stride,
                      std::span<std::byte> out, Executor&& executor) {
    QDIAL_ASSERT(row_length % kernels::packed_record<A>::length == 0,
                 "pack_activations: the row length is not a multiple of the block length");
    QDIAL_ASSERT(out.size() == packed_activations_size<A>(n, row_length),
                 "pack_activations: the output does not hold the rows");
    const std::size_t row_bytes = kernels::packed_row_bytes<A>(row_length);
    executor(n, [=](std::size_t j) {
        kernels::pack_row<A, Arch>(x + j * stride, row_length, out.data() + j * row_bytes);
    });
}

}  // namespace qdial

#include "qdial/macros_end.hpp"
