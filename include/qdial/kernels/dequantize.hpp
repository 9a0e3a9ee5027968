// SPDX-License-Identifier: Apache-2.0
//
// Blocks to floats.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>

#include "qdial/float16.hpp"
#include "qdial/formats/format.hpp"
#include "qdial/kernels/decoder.hpp"
#include "qdial/kernels/executor.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// What `dequantize` can write.
template <class T>
concept decoded_element =
    std::same_as<T, float> || std::same_as<T, float16> || std::same_as<T, bfloat16>;

/// Decodes blocks: out.size() == in.size() * F::block_length.
///
/// The floats are those of the reference (`q d`, `q d + m`, `(d scale) q - (dmin minimum)`, each
/// operation rounded once) and the same on every backend; `float16` and `bfloat16` outputs are
/// these floats rounded to nearest even, in the host's byte order. A block whose scale is
/// infinite or NaN decodes to infinities and NaN; which NaN is not defined.
template <decodable_format F, decoded_element Out = float, class Arch = default_arch>
void dequantize(std::span<const typename F::block> in, std::span<Out> out);

/// Decodes consecutive rows of `row_length` elements (a multiple of F::block_length), one task a
/// row; see executor.hpp.
template <decodable_format F, decoded_element Out = float, class Arch = default_arch,
          class Executor = serial_executor>
void dequantize_rows(std::span<const typename F::block> in, std::size_t row_length,
                     std::span<Out> out, Executor&& executor = {});

// ---- implementation

namespace kernels {

template <class Arch>
QDIAL_INLINE void store_decoded(float* p, typename simd::ops<Arch>::f a) noexcept {
    simd::ops<Arch>::store(p, a);
}
template <class Arch>
QDIAL_INLINE void store_decoded(float16* p, typename simd::ops<Arch>::f a) noexcept {
    simd::byte_ops<Arch>::store(p, a);
}
template <class Arch>
QDIAL_INLINE void store_decoded(bfloat16* p, typename simd::ops<Arch>::f a) noexcept {
    simd::byte_ops<Arch>::store(p, a);
}

/// `V::length` codes as floats, offset subtracted, in units of `code_unit`.
template <class F, std::size_t First, class Arch, std::size_t N>
QDIAL_INLINE void load_codes(const typename F::block& b,
                             typename simd::ops<Arch>::f (&q)[N]) noexcept {
    using V = simd::widening_bytes<Arch>;
    using D = decoder<F, Arch>;
    const auto codes = D::template codes<V, First>(b);
    if constexpr (D::signed_codes)
        V::signed_to_floats(codes, q);
    else if constexpr (D::offset != 0)
        V::signed_to_floats(V::sub_bytes(codes, V::splat(D::offset)), q);
    else
        V::unsigned_to_floats(codes, q);
}

/// What `load_codes` leaves for the scale to multiply. A power of two: exact for every scale made
/// from binary16.
template <class F, class Arch>
inline constexpr float code_unit = decoder<F, Arch>::signed_codes || decoder<F, Arch>::offset != 0
                                       ? simd::widening_bytes<Arch>::signed_unit
                                       : 1.0f;

/// Whether the backend decodes a format through a table of its codes' floats.
template <class F, class Arch>
inline constexpr bool by_lookup = [] {
    if constexpr (requires { decoder<F, Arch>::code_bits; })
        return decoder<F, Arch>::code_bits <= simd::code_lookup<Arch>::most_bits;
    else
        return false;
}();

/// What the codes of a format become under a block's scales: `value(q)` is the float of code q.
template <class F, class Arch>
struct code_table {
    using V = simd::code_lookup<Arch>;
    using D = decoder<F, Arch>;
    static constexpr int bits = D::code_bits;
    static constexpr std::size_t registers = V::template registers<bits>;
    typename simd::ops<Arch>::f floats[registers];

    template <class Value>
    QDIAL_INLINE explicit code_table(Value value) noexcept {
        typename simd::ops<Arch>::f codes[registers];
        V::template set_codes<bits, D::offset>(codes);
        QDIAL_UNROLL
        for (std::size_t k = 0; k < registers; ++k) floats[k] = value(codes[k]);
    }

    /// Decodes elements First … First + Length - 1, with sub-block `Sub` of the table.
    template <std::size_t First, std::size_t Length, std::size_t Sub, class Out>
    QDIAL_INLINE void decode(const typename F::block& b, Out* out) const noexcept {
        unrolled<Length / V::length>([&](auto part) QDIAL_INLINE_LAMBDA {
            constexpr std::size_t at = First + V::length * part;
            const typename V::bytes codes = D::template codes<V, at>(b);
            store_decoded<Arch>(out + at,
                                V::look_up(floats, V::template in_sub_block<bits, Sub>(codes)));
        });
    }
};

/// A super-block of 256 with integer scales, by lookup.
template <class F, class Arch, class Out>
QDIAL_INLINE void decode_super_block_by_lookup(const typename F::block& b, Out* out) noexcept {
    using O = simd::ops<Arch>;
    using B = simd::byte_ops<Arch>;
    using D = decoder<F, Arch>;
    using V = simd::code_lookup<Arch>;
    constexpr std::size_t subs = V::template sub_blocks<D::code_bits>;
    typename O::f scales[1], minima[1];
    B::scales_to_floats(D::sub_scales(b), scales);
    scales[0] = O::mul(B::splat_half(D::scale(b)), scales[0]);
    if constexpr (D::has_minimum) {
        B::scales_to_floats(D::sub_minima(b), minima);
        minima[0] = O::mul(B::splat_half(D::minimum(b)), minima[0]);
    }
    unrolled<256 / D::sub_block / subs>([&](auto t) QDIAL_INLINE_LAMBDA {
        const auto scale = V::template spread_scales<D::code_bits, t>(scales[0]);
        const code_table<F, Arch> table([&](auto q) QDIAL_INLINE_LAMBDA {
            if constexpr (D::has_minimum)
                return B::exact_mul_sub(
                    scale, q, V::template spread_scales<D::code_bits, t>(minima[0]));
            else
                return O::mul(scale, q);
        });
        unrolled<subs>([&](auto sub) QDIAL_INLINE_LAMBDA {
            table.template decode<(t * subs + sub) * D::sub_block, D::sub_block, sub>(b, out);
        });
    });
}

/// A block with one scale, or one scale and one minimum.
template <class F, class Arch, class Out>
QDIAL_INLINE void decode_simple_block(const typename F::block& b, Out* out) noexcept {
    using O = simd::ops<Arch>;
    using B = simd::byte_ops<Arch>;
    using D = decoder<F, Arch>;
    constexpr std::size_t length = simd::widening_bytes<Arch>::length;
    constexpr bool float_scale = std::same_as<decltype(D::scale(b)), float>;
    const auto unit = O::splat(code_unit<F, Arch>);
    typename O::f d, m;
    if constexpr (D::has_minimum && requires { B::splat_halves(D::scale(b), D::minimum(b), d, m); })
        B::splat_halves(D::scale(b), D::minimum(b), d, m);
    else if constexpr (D::has_minimum)
        d = B::splat_half(D::scale(b)), m = B::splat_half(D::minimum(b));
    else if constexpr (float_scale)
        d = O::splat(D::scale(b));
    else
        d = O::mul(B::splat_half(D::scale(b)), unit);
    if constexpr (by_lookup<F, Arch>) {
        const code_table<F, Arch> table([&](auto q) QDIAL_INLINE_LAMBDA {
            if constexpr (D::has_minimum)
                return B::exact_mul_add(q, d, m);
            else
                return O::mul(q, d);
        });
        table.template decode<0, F::block_length, 0>(b, out);
        return;
    }
    unrolled<F::block_length / length>([&](auto part) QDIAL_INLINE_LAMBDA {
        typename O::f q[length / O::width];
        load_codes<F, length * part, Arch>(b, q);
        QDIAL_UNROLL
        for (std::size_t k = 0; k < length / O::width; ++k) {
            typename O::f y;
            if constexpr (D::has_minimum)
                y = B::exact_mul_add(q[k], d, m);  // 5 by 11 bits
            else if constexpr (float_scale)
                y = O::mul(O::mul(q[k], unit), d);
            else
                y = O::mul(q[k], d);
            store_decoded<Arch>(out + length * part + k * O::width, y);
        }
    });
}

/// Integer scales times their factor, as floats.
template <class Arch>
QDIAL_INLINE void multiply_scales(simd::sixteen_bytes scales, typename simd::ops<Arch>::f factor,
                                  float (&out)[16]) noexcept {
    using O = simd::ops<Arch>;
    typename O::f v[16 / O::width];
    simd::byte_ops<Arch>::scales_to_floats(scales, v);
    QDIAL_UNROLL
    for (std::size_t k = 0; k < 16 / O::width; ++k)
        O::store(out + k * O::width, O::mul(factor, v[k]));
    simd::keep_in_memory(out);
}

/// A super-block of 256 with integer scales per 16 or 32.
template <class F, class Arch, class Out>
QDIAL_INLINE void decode_super_block(const typename F::block& b, Out* out) noexcept {
    using O = simd::ops<Arch>;
    using B = simd::byte_ops<Arch>;
    using D = decoder<F, Arch>;
    constexpr std::size_t length = simd::widening_bytes<Arch>::length;
    alignas(64) float scales[16], minima[16];
    multiply_scales<Arch>(D::sub_scales(b),
                          O::mul(B::splat_half(D::scale(b)), O::splat(code_unit<F, Arch>)), scales);
    if constexpr (D::has_minimum)
        multiply_scales<Arch>(D::sub_minima(b), B::splat_half(D::minimum(b)), minima);
    unrolled<256 / length>([&](auto part) QDIAL_INLINE_LAMBDA {
        typename O::f q[length / O::width];
        load_codes<F, length * part, Arch>(b, q);
        QDIAL_UNROLL
        for (std::size_t k = 0; k < length / O::width; ++k) {
            const std::size_t e = length * part + k * O::width;
            const typename O::f scale = O::splat(scales[e / D::sub_block]);
            typename O::f y;
            if constexpr (D::has_minimum)
                y = B::exact_mul_sub(scale, q[k], O::splat(minima[e / D::sub_block]));  // 17 by 5
            else
                y = O::mul(scale, q[k]);
            store_decoded<Arch>(out + e, y);
        }
    });
}

/// Consecutive floats of any type.
template <class F, class Arch, class Out>
QDIAL_INLINE void decode_floats(const typename F::block* in, std::size_t n, Out* out) noexcept {
    constexpr std::size_t width = simd::ops<Arch>::width;
    std::size_t i = 0;
    for (; n - i >= 4 * width; i += 4 * width) {
        QDIAL_UNROLL
        for (std::size_t k = 0; k < 4 * width; k += width)
            store_decoded<Arch>(out + i + k, decoder<F, Arch>::load(in + i + k));
    }
    using one = arch::generic;
    for (; i < n; ++i) store_decoded<one>(out + i, decoder<F, one>::load(in + i));
}

template <class F, class Arch, class Out>
void decode_blocks(const typename F::block* in, std::size_t n, Out* __restrict out) noexcept {
    if constexpr (F::is_float) {
        decode_floats<F, Arch>(in, n, out);
    } else {
        for (std::size_t i = 0; i < n; ++i) {
            if constexpr (decoder<F, Arch>::sub_block == 0)
                decode_simple_block<F, Arch>(in[i], out + i * F::block_length);
            else if constexpr (by_lookup<F, Arch>)
                decode_super_block_by_lookup<F, Arch>(in[i], out + i * F::block_length);
            else
                decode_super_block<F, Arch>(in[i], out + i * F::block_length);
        }
    }
}

}  // namespace kernels

template <decodable_format F, decoded_element Out, class Arch>
void dequantize(std::span<const typename F::block> in, std::span<Out> out) {
    QDIAL_ASSERT(out.size() == in.size() * F::block_length,
                 "dequantize: the output does not hold the elements of the blocks");
    kernels::decode_blocks<F, Arch>(in.data(), in.size(), out.data());
}

template <decodable_format F, decoded_element Out, class Arch, class Executor>
void dequantize_rows(std::span<const typename F::block> in, std::size_t row_length,
                     std::span<Out> out, Executor&& executor) {
    QDIAL_ASSERT(row_length != 0 && row_length % F::block_length == 0,
                 "dequantize_rows: the row length is not a multiple of the block length");
    QDIAL_ASSERT(out.size() == in.size() * F::block_length && out.size() % row_length == 0,
                 "dequantize_rows: the output does not hold the rows of the blocks");
    const std::size_t blocks = row_length / F::block_length;
    executor(out.size() / row_length, [=](std::size_t row) {
        dequantize<F, Out, Arch>(in.subspan(row * blocks, blocks),
                                 out.subspan(row * row_length, row_length));
    });
}

}  // namespace qdial

#include "qdial/macros_end.hpp"
