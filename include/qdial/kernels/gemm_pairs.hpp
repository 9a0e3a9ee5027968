// SPDX-License-Identifier: Apache-2.0
//
// Packed GEMM for backends that multiply two rows with two columns at once (Arm's matrix
// instructions for int8): a register holds eight elements of two rows, another those of two
// columns, and the four sums land in one. The sums are the same integers as everywhere.
#pragma once

#include <concepts>
#include <cstddef>

#include "qdial/kernels/gemm_blocks.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::kernels {

/// Row operations with `pair_word`: the sums of two rows with two columns, [row][column].
template <class V>
concept multiplies_pairs = requires {
    typename V::pair_word;
};

/// A panel of one tile whose words are zipped: of eight elements, those of rows 0 and 1 come first,
/// then those of rows 2 and 3, …
template <class Panel>
struct paired_panel : Panel {
    using V = typename Panel::V;
    static constexpr std::size_t step_bytes = 2 * sizeof(panel_row);  ///< eight elements

    static_assert(Panel::tiles == 1 && V::kind == simd::code_kind::signed_in_32);

    QDIAL_INLINE void unpack(const std::byte* first, std::size_t tile_bytes, std::size_t blocks,
                             std::size_t part, std::size_t count) noexcept {
        Panel::unpack(first, tile_bytes, blocks, part, count);
        for (std::size_t k = 0; k < Panel::length / 8; ++k)
            V::zip_rows(reinterpret_cast<std::byte*>(this->codes_) + k * step_bytes);
    }
    /// Rows 2 i and 2 i + 1, elements 8 k … 8 k + 7.
    QDIAL_INLINE typename V::pair_word rows(std::size_t k, std::size_t i) const noexcept {
        return V::load_pair(reinterpret_cast<const std::byte*>(this->codes_) + k * step_bytes +
                            16 * i);
    }
};

/// The panel as the backend multiplies it.
template <class Arch, class Panel>
struct panel_of {
    using type = Panel;
};
template <class Arch, class Panel>
requires multiplies_pairs<simd::row_ops<Arch>>
struct panel_of<Arch, Panel> {
    using type = paired_panel<Panel>;
};
template <class Arch, class Panel>
using panel_for = typename panel_of<Arch, Panel>::type;

/// Adds the products of elements 8 k … 8 k + 7 of 2 Rows rows, from row 2 first on, with columns
/// whose elements start at x, to the sums. An odd last column is multiplied twice.
template <std::size_t Rows, class Source, std::size_t C, std::size_t P>
QDIAL_INLINE void add_pairs(const Source& w, std::size_t k, std::size_t first,
                            const std::byte* const (&x)[C],
                            typename Source::V::pair_word (&sums)[P][Rows]) noexcept {
    using V = typename Source::V;
    static_assert(P == (C + 1) / 2);
    typename V::pair_word a[P];
    QDIAL_UNROLL
    for (std::size_t p = 0; p < P; ++p)
        a[p] = V::load_columns(x[2 * p], x[2 * p + 1 < C ? 2 * p + 1 : 2 * p]);
    QDIAL_UNROLL
    for (std::size_t i = 0; i < Rows; ++i) {
        const auto rows = w.rows(k, first + i);
        QDIAL_UNROLL
        for (std::size_t p = 0; p < P; ++p)
            sums[p][i] = V::multiply_add_pairs(sums[p][i], rows, a[p]);
    }
}

/// Sums of pairs as the sums of each column.
template <class V, std::size_t C, std::size_t P>
QDIAL_INLINE void separate(const typename V::pair_word (&pairs)[P][8],
                           typename V::word (&sums)[1][C]) noexcept {
    QDIAL_UNROLL
    for (std::size_t c = 0; c < C; ++c) sums[0][c] = V::column(pairs[c / 2], c % 2);
}

/// y += a super-block times C columns.
template <std::size_t C, class Panel>
requires std::same_as<typename Panel::record, packed_q8_k> QDIAL_INLINE void multiply(
    const paired_panel<Panel>& w, std::size_t, const std::byte* const (&x)[C], float* y) noexcept {
    using V = typename Panel::V;
    using plan = typename Panel::plan;
    constexpr std::size_t P = (C + 1) / 2, steps = plan::D::sub_block / 8;
    typename V::pair_word sums[P][8];
    QDIAL_UNROLL
    for (std::size_t p = 0; p < P; ++p) {
        QDIAL_UNROLL
        for (std::size_t i = 0; i < 8; ++i) sums[p][i] = V::zero_pair();
    }
    QDIAL_NO_UNROLL
    for (std::size_t s = 0; s < plan::scales; ++s) {
        const auto scale = w.scale(s, 0);
        // Half of the rows at a time: sums and parts of all would not fit into the registers.
        QDIAL_UNROLL
        for (std::size_t half = 0; half < 2; ++half) {
            typename V::pair_word parts[P][4];
            QDIAL_UNROLL
            for (std::size_t p = 0; p < P; ++p) {
                QDIAL_UNROLL
                for (std::size_t i = 0; i < 4; ++i) parts[p][i] = V::zero_pair();
            }
            QDIAL_UNROLL
            for (std::size_t k = s * steps; k < (s + 1) * steps; ++k) {
                const std::byte* at[C];
                QDIAL_UNROLL
                for (std::size_t c = 0; c < C; ++c) at[c] = x[c] + 8 * k;
                add_pairs<4>(w, k, 4 * half, at, parts);
            }
            QDIAL_UNROLL
            for (std::size_t i = 0; i < 4; ++i) {
                const auto factor = V::pair_scale(scale, 4 * half + i);
                QDIAL_UNROLL
                for (std::size_t p = 0; p < P; ++p)
                    sums[p][4 * half + i] =
                        V::add_scaled_pair(sums[p][4 * half + i], parts[p][i], factor);
            }
        }
    }
    typename V::word columns[1][C];
    separate<V>(sums, columns);
    fold_super_block<0>(w, x, columns, y);
}

/// y += `count` blocks of 32 times C columns.
template <std::size_t C, class Panel>
requires std::same_as<typename Panel::record, packed_q8> QDIAL_INLINE void multiply(
    const paired_panel<Panel>& w, std::size_t count, const std::byte* const (&x)[C],
    float* y) noexcept {
    using V = typename Panel::V;
    constexpr std::size_t P = (C + 1) / 2;
    QDIAL_NO_UNROLL
    for (std::size_t b = 0; b < count; ++b) {
        typename V::pair_word sums[P][8];
        QDIAL_UNROLL
        for (std::size_t p = 0; p < P; ++p) {
            QDIAL_UNROLL
            for (std::size_t i = 0; i < 8; ++i) sums[p][i] = V::zero_pair();
        }
        QDIAL_UNROLL
        for (std::size_t k = 0; k < 4; ++k) {
            const std::byte* at[C];
            QDIAL_UNROLL
            for (std::size_t c = 0; c < C; ++c) at[c] = x[c] + b * sizeof(packed_q8) + 8 * k;
            add_pairs<8>(w, 4 * b + k, 0, at, sums);
        }
        typename V::word columns[1][C];
        separate<V>(sums, columns);
        typename V::reals out[1][C];
        load_tile<V>(y, out);
        fold_block(w, b, x, columns, out);
        store_tile<V>(y, out);
    }
}

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
