// SPDX-License-Identifier: Apache-2.0
//
// Packed GEMM on matrix tiles (AMX): 32 rows by up to 32 columns at a time. The sums are the same
// integers as everywhere, so the results have the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "qdial/kernels/gemm_blocks.hpp"
#include "qdial/simd/amx.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::kernels {

/// The parts of GEMM on tiles that depend on the format: a panel of two tiles of sixteen rows, as
/// bytes that the tiles multiply.
///
/// Super-blocks: code times scale is at most 32 * 128 = 2^12 in magnitude (Q6_K); it is stored in
/// two planes, v = 64 high + low with |high| <= 64 and 0 <= low < 64, whose sums over a block are
/// at most 256 * 64 * 127 < 2^21, so that 64 high + low is the exact sum again.
template <class F, class Arch>
struct tile_panel {
    using V = simd::row_ops<Arch>;
    using D = decoder<F, arch::generic>;
    static constexpr bool super_blocks = F::block_length == 256;
    static constexpr std::size_t blocks = super_blocks ? 1 : 8;
    static constexpr std::size_t planes = super_blocks ? 2 : 1;
    using source = std::conditional_t<super_blocks, super_block_source<F, Arch, 1>,
                                      simple_block_source<F, Arch, 1>>;
    using record = typename source::record;
    using plan = typename source::plan;
    static constexpr bool is_panel = true;

    panel_row codes[planes][2][64];
    panel_row d_[blocks][2], m_[blocks][2];
    panel_row minima_[super_blocks ? 9 : 1][2];

    QDIAL_INLINE void unpack(const std::byte* first, std::size_t tile_bytes, std::size_t all_blocks,
                             std::size_t part, std::size_t count) noexcept {
        for (std::size_t r = 0; r < 2; ++r) {
            source from;
            from.unpack(first + r * tile_bytes, 2 * tile_bytes, all_blocks, part, count);
            if constexpr (super_blocks)
                unpack_super_block(from, r);
            else
                unpack_blocks(from, r, count);
        }
    }
    QDIAL_INLINE typename V::reals d(std::size_t b, std::size_t r) const noexcept {
        return V::load(d_[b][r].floats());
    }
    QDIAL_INLINE typename V::reals m(std::size_t b, std::size_t r) const noexcept {
        return V::load(m_[b][r].floats());
    }
    QDIAL_INLINE typename V::reals d(std::size_t r) const noexcept { return d(0, r); }
    QDIAL_INLINE typename V::reals dmin(std::size_t r) const noexcept { return m(0, r); }
    QDIAL_INLINE typename V::word minima(std::size_t s, std::size_t r) const noexcept {
        return V::load(minima_[s][r].bytes);
    }

private:
    /// The codes without offset, as signed bytes.
    template <class Unpacked>
    QDIAL_INLINE static typename V::word signed_codes(Unpacked c, int added) noexcept {
        return added == 0 ? c : V::sub_bytes(c, V::splat(in_every_byte(added)));
    }
    QDIAL_INLINE void unpack_super_block(const source& from, std::size_t r) noexcept {
        unrolled<64>([&](auto k) QDIAL_INLINE_LAMBDA {
            auto c = unpack_codes<F, V, 4 * k, 0>(from.words[0]);
            c = signed_codes(c, D::offset);
            constexpr std::size_t s = 4 * k / D::sub_block;
            const auto top = V::template shl<24 - 8 * (s % 4)>(from.scale_words[0][s / 4]);
            split(c, V::template sar<24>(top), codes[0][r][k], codes[1][r][k]);
        });
        V::store(d_[0][r].floats(), from.d(0));
        if constexpr (plan::minima != 0) {
            V::store(m_[0][r].floats(), from.dmin(0));
            unrolled<plan::minima>([&](auto s) QDIAL_INLINE_LAMBDA {
                V::store(minima_[s][r].bytes, from.minima(s, 0));
            });
        }
    }
    QDIAL_INLINE void unpack_blocks(const source& from, std::size_t r, std::size_t count) noexcept {
        constexpr int offset = D::signed_codes ? 0 : D::offset;
        for (std::size_t b = 0; b < count; ++b) {
            const std::byte* words = from.words[0] + b * packed_tile<F>::words_bytes;
            unrolled<8>([&](auto k) QDIAL_INLINE_LAMBDA {
                V::store(codes[0][r][8 * b + k].bytes,
                         signed_codes(unpack_codes<F, V, 4 * k, 0>(words), offset));
            });
            V::store(d_[b][r].floats(), from.d(b, 0));
            if constexpr (D::has_minimum) V::store(m_[b][r].floats(), from.m(b, 0));
        }
    }
    /// Planes of code times scale, byte by byte: products of two 16-bit integers of which the
    /// other of every two is zero.
    QDIAL_INLINE static void split(typename V::word c, typename V::word scale, panel_row& high,
                                   panel_row& low) noexcept {
        typename V::word h = V::zero(), l = V::zero();
        unrolled<4>([&](auto byte) QDIAL_INLINE_LAMBDA {
            const auto code = V::template sar<24>(V::template shl<24 - 8 * byte>(c));
            const auto mask = V::splat(0xFFFF);
            const auto v = V::add_pairs(V::zero(), V::bit_and(code, mask), V::bit_and(scale, mask));
            const auto upper = V::bit_and(V::template sar<6>(v), V::splat(0xFF));
            h = V::bit_or(h, V::template shl<8 * byte>(upper));
            l = V::bit_or(l, V::template shl<8 * byte>(V::bit_and(v, V::splat(63))));
        });
        V::store(high.bytes, h);
        V::store(low.bytes, l);
    }
};

/// The sums of a panel's blocks with 16 T columns, folded into y [32 columns][2][16], of which the
/// first `n` columns have activations, at x[c].
template <int T, class F, class Arch>
class tile_kernel {
public:
    using V = simd::row_ops<Arch>;
    using ops = simd::tile_ops<Arch>;
    using panel = tile_panel<F, Arch>;
    using D = typename panel::D;
    static constexpr int step_bytes = panel::super_blocks ? 64 : 32;
    static constexpr std::size_t columns = 16 * T;

    static void multiply(const panel& w, std::size_t count, const std::byte* const* x,
                         std::size_t n, float* y) noexcept {
        alignas(64) std::byte a[columns * 256];
        copy_codes(x, n, count, a);
        alignas(64) std::int32_t sums[panel::planes][512 * T];
        if constexpr (panel::super_blocks) {
            for (std::size_t plane = 0; plane < 2; ++plane)
                add_steps<4>(a, w.codes[plane][0][0].bytes, w.codes[plane][1][0].bytes,
                             sums[plane]);
            fold_sums(w, x, n, sums[0], sums[1], y);
        } else {
            for (std::size_t b = 0; b < count; ++b) {
                add_steps<1>(a + 32 * b, w.codes[0][0][8 * b].bytes, w.codes[0][1][8 * b].bytes,
                             sums[0]);
                fold_sums(w, b, x, n, sums[0], y);
            }
        }
    }

private:
    /// The columns' codes, 256 bytes each; zeros where there is no column.
    static void copy_codes(const std::byte* const* x, std::size_t n, std::size_t count,
                           std::byte* a) noexcept {
        if (n < columns) std::memset(a, 0, columns * 256);
        for (std::size_t c = 0; c < n; ++c) {
            if constexpr (panel::super_blocks)
                std::memcpy(a + 256 * c, x[c], 256);
            else
                for (std::size_t b = 0; b < count; ++b)
                    std::memcpy(a + 256 * c + 32 * b, x[c] + b * sizeof(packed_q8), 32);
        }
    }
    template <std::size_t Steps>
    static void add_steps(const std::byte* a, const std::byte* w0, const std::byte* w1,
                          std::int32_t* out) noexcept {
        typename ops::sums_type tiles;
        ops::zero(tiles);
        for (std::size_t s = 0; s < Steps; ++s) {
            const std::byte* const w[2] = {w0 + 1024 * s, w1 + 1024 * s};
            ops::template step<step_bytes, T>(tiles, a + 64 * s, 256, w);
        }
        ops::template store<T>(tiles, out);
    }
    /// Where the sums of column c and rows 16 r … are.
    static std::size_t at(std::size_t c, std::size_t r) noexcept {
        return c / 16 * 512 + r * 256 + c % 16 * 16;
    }

    static void fold_sums(const panel& w, const std::byte* const* x, std::size_t n,
                          const std::int32_t* high, const std::int32_t* low, float* y) noexcept {
        for (std::size_t c = 0; c < n; ++c) {
            const std::byte* const column[1] = {x[c]};
            typename V::word sums[2][1];
            for (std::size_t r = 0; r < 2; ++r)
                sums[r][0] =
                    V::add(V::template shl<6>(V::load(high + at(c, r))), V::load(low + at(c, r)));
            fold_super_block<0>(w, column, sums, y + 2 * c * simd::interleaved_rows);
        }
    }
    static void fold_sums(const panel& w, std::size_t b, const std::byte* const* x, std::size_t n,
                          const std::int32_t* from, float* y) noexcept {
        for (std::size_t c = 0; c < n; ++c, y += 2 * simd::interleaved_rows) {
            const std::byte* const column[1] = {x[c]};
            const typename V::word sums[2][1] = {{V::load(from + at(c, 0))},
                                                 {V::load(from + at(c, 1))}};
            typename V::reals out[2][1];
            load_tile<V>(y, out);
            fold_block(w, b, column, sums, out);
            store_tile<V>(y, out);
        }
    }
};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
