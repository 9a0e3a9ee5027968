// SPDX-License-Identifier: Apache-2.0
//
// Activations as the packed kernels take them.
#pragma once

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

/// The largest magnitude of N elements; NaN or infinite if any of them is.
template <class Arch, std::size_t N>
QDIAL_INLINE float largest_magnitude(const float* x) noexcept {
    using O = simd::ops<Arch>;
    const auto mask = O::splat(std::int32_t{0x7FFFFFFF});
    auto largest = O::splat(std::int32_t{0});
    for (std::size_t e = 0; e < N; e += O::width)
        largest = O::max(largest, O::bit_and(O::bits(O::load(x + e)), mask));
    return std::bit_cast<float>(O::reduce_max(largest));
}

template <class Arch>
void pack_record(const float* x, packed_q8& record) noexcept {
    if (!(largest_magnitude<Arch, 32>(x) <= FLT_MAX)) {
        std::memset(static_cast<void*>(&record), 0, sizeof record);
        record.d = record.s = std::numeric_limits<float>::quiet_NaN();
        return;
    }
    std::int16_t sums[2];
    record.d = encode_q8<Arch>(x, record.codes);
    simd::byte_ops<Arch>::sums_of_16(record.codes, sums);
    const int sum = sums[0] + sums[1];
    record.s = simd::unfused(static_cast<float>(sum) * record.d);
    record.minus_sum = -sum;
    record.unused = 0;
}

template <class Arch>
void pack_record(const float* x, packed_q8_k& record) noexcept {
    std::memset(static_cast<void*>(&record), 0, sizeof record);
    if (!(largest_magnitude<Arch, 256>(x) <= FLT_MAX)) {
        record.d = std::numeric_limits<float>::quiet_NaN();
        return;
    }
    q8_k::block block;
    encode_q8_k<Arch>(x, block);
    std::memcpy(record.codes, block.qs, sizeof record.codes);
    record.d = little_endian(block.d);
    for (std::size_t s = 0; s < 16; ++s) {
        // Sums of codes at places 0, 1 and 2, 3 of every four, of 8 codes each.
        int sums[2][2] = {};
        for (std::size_t e = 0; e < 16; ++e) sums[e / 8][e % 4 / 2] += record.codes[16 * s + e];
        const int eights[2] = {sums[0][0] + sums[0][1], sums[1][0] + sums[1][1]};
        const int sixteen = eights[0] + eights[1];
        record.sums_of_16[pair_order(s)] = static_cast<std::int16_t>(sixteen);
        record.sums_of_32[pair_order(s / 2)] += static_cast<std::int16_t>(sixteen);
        record.minus_16_sums[s] = -16 * sixteen;
        for (std::size_t k = 0; k < 2; ++k) {
            record.minus_32_sums[2 * s + k] = -32 * eights[k];
            record.minus_32_pairs[2 * s + k] =
                static_cast<std::int16_t>(-32 * (sums[0][k] + sums[1][k]));
        }
    }
}

template <class Arch>
void pack_record(const float* x, float& record) noexcept {
    record = *x;
}

QDIAL_INLINE float widen(float x) noexcept { return x; }
QDIAL_INLINE float widen(float16 x) noexcept { return to_float(x); }
QDIAL_INLINE float widen(bfloat16 x) noexcept { return to_float(x); }

/// One row. `out` may have any alignment.
template <class A, class Arch, class T>
void pack_row(const T* x, std::size_t row_length, std::byte* out) noexcept {
    using record_type = typename packed_record<A>::type;
    constexpr std::size_t length = packed_record<A>::length;
    if constexpr (std::same_as<A, f32> && std::same_as<T, float>) {
        std::memcpy(out, x, row_length * sizeof(float));
    } else {
        for (std::size_t e = 0; e < row_length; e += length, out += sizeof(record_type)) {
            record_type record;
            if constexpr (std::same_as<T, float>) {
                pack_record<Arch>(x + e, record);
            } else {
                float elements[length];
                for (std::size_t k = 0; k < length; ++k) elements[k] = widen(x[e + k]);
                pack_record<Arch>(elements, record);
            }
            std::memcpy(out, &record, sizeof record);
        }
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
