// SPDX-License-Identifier: Apache-2.0
//
// Weights in the layout of the packed kernels: sixteen rows interleaved. One layout serves all
// backends, so a packed matrix can be written to disk and mapped again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "qdial/kernels/executor.hpp"
#include "qdial/kernels/interleaved.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// Bytes of a packed matrix of `rows` rows of `row_length` elements: those of the plain blocks,
/// with the rows rounded up to a multiple of 16. row_length is a multiple of F::block_length.
template <packable_format F>
[[nodiscard]] constexpr std::size_t pack_size(std::size_t rows, std::size_t row_length) noexcept {
    constexpr std::size_t tile = simd::interleaved_rows;
    return (rows + tile - 1) / tile * tile * (row_length / F::block_length) *
           sizeof(typename F::block);
}

/// A view of a packed matrix. `data` may have any alignment; 64 is fastest.
template <packable_format F>
struct packed_matrix {
    const std::byte* data;
    std::size_t rows;
    std::size_t row_length;  ///< elements per row
};

/// Packs a matrix: `blocks` holds its rows one after the other, `packed` has pack_size<F>(rows,
/// row_length) bytes. The executor runs one task for every sixteen rows.
///
/// Layout of sixteen rows, all fields as in the blocks (little-endian): first the blocks' 4-byte
/// words, block after block and word after word, sixteen rows' side by side; then the blocks'
/// binary16 factors in the same order. Float formats: element after element, sixteen rows' side by
/// side. Rows that are missing in the last sixteen are zero bytes. (The fifth bits of Q5_0 and
/// Q5_1 are permuted within their word.)
template <packable_format F, class Executor = serial_executor>
void pack(std::span<const typename F::block> blocks, std::size_t row_length,
          std::span<std::byte> packed, Executor&& executor = {});

/// The inverse of `pack`: the original blocks of the first blocks.size() / (row_length /
/// F::block_length) rows.
template <packable_format F, class Executor = serial_executor>
void unpack(std::span<const std::byte> packed, std::size_t row_length,
            std::span<typename F::block> blocks, Executor&& executor = {});

// ---- implementation

namespace kernels {

/// Where the parts of sixteen packed rows are.
template <class F>
struct packed_tile {
    static constexpr std::size_t words_bytes = 4 * words_per_block<F> * simd::interleaved_rows;
    static constexpr std::size_t halves_bytes = 2 * interleaved<F>::halves * simd::interleaved_rows;

    static constexpr std::size_t bytes(std::size_t blocks) noexcept {
        return blocks * (words_bytes + halves_bytes);
    }
    static constexpr std::size_t words(std::size_t block) noexcept { return block * words_bytes; }
    static constexpr std::size_t halves(std::size_t blocks, std::size_t block) noexcept {
        return blocks * words_bytes + block * halves_bytes;
    }
};

/// Calls fn(offset in the block, offset in the packed tile, bytes, index of the word) for every
/// word and half (index: -1) of one block of row r.
template <class F, class Fn>
QDIAL_INLINE void for_each_field(std::size_t blocks, std::size_t block, std::size_t r, Fn fn) {
    using tile = packed_tile<F>;
    constexpr std::size_t n = simd::interleaved_rows;
    for (std::size_t w = 0; w < words_per_block<F>; ++w)
        fn(words_at<F> + 4 * w, tile::words(block) + 4 * (n * w + r), std::size_t{4}, w);
    for (std::size_t h = 0; h < interleaved<F>::halves; ++h)
        fn(interleaved<F>::halves_at + 2 * h, tile::halves(blocks, block) + 2 * (n * h + r),
           std::size_t{2}, words_per_block<F>);
}

template <class F>
inline constexpr bool permutes_words = requires {
    interleaved<F>::to_packed(std::size_t{}, std::uint32_t{});
};

/// Copies one block's fields between a plain block and a packed tile.
template <class F, bool Packing>
QDIAL_INLINE void copy_fields(std::byte* to, const std::byte* from, std::size_t blocks,
                              std::size_t block, std::size_t r) noexcept {
    for_each_field<F>(blocks, block, r,
                      [=](std::size_t plain, std::size_t packed, std::size_t bytes,
                          [[maybe_unused]] std::size_t word) QDIAL_INLINE_LAMBDA {
                          std::byte* target = to + (Packing ? packed : plain);
                          const std::byte* source = from + (Packing ? plain : packed);
                          if (bytes == 2) {
                              std::memcpy(target, source, 2);
                              return;
                          }
                          std::uint32_t w;
                          std::memcpy(&w, source, 4);
                          if constexpr (permutes_words<F>) {
                              w = little_endian(w);
                              w = little_endian(Packing ? interleaved<F>::to_packed(word, w)
                                                        : interleaved<F>::from_packed(word, w));
                          }
                          std::memcpy(target, &w, 4);
                      });
}

/// `count` of sixteen rows of `blocks` blocks each.
template <class F>
void pack_rows(const typename F::block* rows, std::size_t count, std::size_t blocks,
               std::byte* out) noexcept {
    constexpr std::size_t n = simd::interleaved_rows, size = sizeof(typename F::block);
    if (count < n) std::memset(out, 0, n * blocks * size);
    const auto* bytes = reinterpret_cast<const std::byte*>(rows);
    for (std::size_t b = 0; b < blocks; ++b)
        for (std::size_t r = 0; r < count; ++r) {
            const std::byte* block = bytes + (r * blocks + b) * size;
            if constexpr (F::is_float)
                std::memcpy(out + (b * n + r) * size, block, size);
            else
                copy_fields<F, true>(out, block, blocks, b, r);
        }
}

template <class F>
void unpack_rows(const std::byte* packed, std::size_t count, std::size_t blocks,
                 typename F::block* rows) noexcept {
    constexpr std::size_t n = simd::interleaved_rows, size = sizeof(typename F::block);
    auto* bytes = reinterpret_cast<std::byte*>(rows);
    for (std::size_t b = 0; b < blocks; ++b)
        for (std::size_t r = 0; r < count; ++r) {
            std::byte* block = bytes + (r * blocks + b) * size;
            if constexpr (F::is_float)
                std::memcpy(block, packed + (b * n + r) * size, size);
            else
                copy_fields<F, false>(block, packed, blocks, b, r);
        }
}

/// Calls fn(first row, rows, blocks per row, offset in the packed matrix) for every tile.
template <class F, class Executor, class Fn>
void for_each_tile(std::size_t blocks, std::size_t row_length, std::size_t packed_bytes,
                   Executor&& executor, Fn fn) {
    constexpr std::size_t n = simd::interleaved_rows;
    QDIAL_ASSERT(row_length != 0 && row_length % F::block_length == 0,
                 "pack: the row length is not a multiple of the block length");
    const std::size_t per_row = row_length / F::block_length;
    QDIAL_ASSERT(blocks % per_row == 0, "pack: the blocks are not whole rows");
    const std::size_t rows = blocks / per_row;
    QDIAL_ASSERT(packed_bytes == pack_size<F>(rows, row_length),
                 "pack: the packed matrix has not pack_size bytes");
    executor((rows + n - 1) / n, [=](std::size_t tile) {
        const std::size_t first = tile * n, left = rows - first;
        fn(first, left < n ? left : n, per_row, first * per_row * sizeof(typename F::block));
    });
}

}  // namespace kernels

template <packable_format F, class Executor>
void pack(std::span<const typename F::block> blocks, std::size_t row_length,
          std::span<std::byte> packed, Executor&& executor) {
    kernels::for_each_tile<F>(
        blocks.size(), row_length, packed.size(), executor,
        [=](std::size_t first, std::size_t count, std::size_t per_row, std::size_t offset) {
            kernels::pack_rows<F>(blocks.data() + first * per_row, count, per_row,
                                  packed.data() + offset);
        });
}

template <packable_format F, class Executor>
void unpack(std::span<const std::byte> packed, std::size_t row_length,
            std::span<typename F::block> blocks, Executor&& executor) {
    kernels::for_each_tile<F>(
        blocks.size(), row_length, packed.size(), executor,
        [=](std::size_t first, std::size_t count, std::size_t per_row, std::size_t offset) {
            kernels::unpack_rows<F>(packed.data() + offset, count, per_row,
                                    blocks.data() + first * per_row);
        });
}

}  // namespace qdial

#include "qdial/macros_end.hpp"
