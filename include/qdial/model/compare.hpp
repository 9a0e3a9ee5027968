// SPDX-License-Identifier: Apache-2.0
//
// How far the weights of one tensor are from another's, or from themselves after encoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "qdial/kernels/executor.hpp"
#include "qdial/model/codec.hpp"
#include "qdial/model/source.hpp"
#include "qdial/model/tiles.hpp"
#include "qdial/model/weight_error.hpp"

namespace qdial::model {

namespace detail {

/// Tiles that are worked on before their results are added up.
inline constexpr std::size_t tiles_at_once = 256;

/// Calls `work(tile, index)` for every tile of a tensor, a bounded number at a time, and after
/// each lot `done(tiles of the lot)`.
template <class Executor, class Work, class Done>
void for_each_tile(const tensor_shape& tensor, Executor& executor, Work&& work, Done&& done) {
    tile_cutter cutter(tensor);
    std::vector<tile> tiles;
    for (std::optional<tile> part = cutter.next(); part;) {
        tiles.clear();
        for (; part && tiles.size() < tiles_at_once; part = cutter.next()) tiles.push_back(*part);
        executor(tiles.size(), [&](std::size_t i) { work(tiles[i], i); });
        done(std::span<const tile>(tiles));
    }
}

/// Lets the pages of these tiles go.
inline void drop(const source_tensor& from, std::span<const tile> tiles) {
    if (tiles.empty()) return;
    tile all = tiles.front();
    all.row_length =
        static_cast<std::size_t>(tiles.back().first + tiles.back().elements() - all.first);
    all.rows = 1;
    from.file->drop(bytes_of(all, from.tensor->format, from.tensor->data));
}

/// The floats of a tile of a tensor, decoded into `out`.
template <class Arch>
void decode_tile(const source_tensor& from, const tile& part, std::span<float> out) {
    const format_info& format = from.tensor->format;
    decode<Arch>(format.gguf_id, bytes_of(part, format, from.tensor->data), out);
}

}  // namespace detail

/// Compares two tensors of the same shape. Throws `error` for formats that cannot be decoded.
template <class Arch = default_arch, class Executor = serial_executor>
[[nodiscard]] weight_error compare_tensors(const source_tensor& reference,
                                           const source_tensor& other, Executor&& executor = {}) {
    for (const source_tensor& side : {reference, other})
        if (!side.tensor->format.decodable)
            throw error(side.file->name() + ": tensor " + gguf::detail::quoted(side.tensor->name) +
                        ": " + std::string(side.tensor->format.name) + " cannot be decoded");
    float_pool pool;
    std::vector<weight_error> errors(detail::tiles_at_once);
    weight_error sum;
    detail::for_each_tile(
        {std::string(), reference.tensor->shape.extent, 0}, executor,
        [&](const tile& part, std::size_t index) {
            const float_pool::loan a(pool, part.elements()), b(pool, part.elements());
            detail::decode_tile<Arch>(reference, part, a.floats());
            detail::decode_tile<Arch>(other, part, b.floats());
            errors[index] = compare_floats<Arch>(a.floats(), b.floats());
        },
        [&](std::span<const tile> tiles) {
            for (std::size_t i = 0; i < tiles.size(); ++i) sum += errors[i];
            detail::drop(reference, tiles);
            detail::drop(other, tiles);
        });
    return sum;
}

/// The errors that a tensor's weights get in each of `formats`, by really encoding and decoding
/// them, a bounded part at a time. Formats must divide the rows and have both kernels; so must
/// the tensor's own have a decoder. Without importance weights.
template <class Arch = default_arch, class Executor = serial_executor>
[[nodiscard]] std::vector<weight_error> encoding_errors(const source_tensor& from,
                                                        std::span<const std::uint32_t> formats,
                                                        Executor&& executor = {}) {
    float_pool pool;
    std::vector<weight_error> errors(detail::tiles_at_once * formats.size());
    std::vector<weight_error> sums(formats.size());
    detail::for_each_tile(
        {std::string(), from.tensor->shape.extent, 0}, executor,
        [&](const tile& part, std::size_t index) {
            const std::size_t n = part.elements();
            const float_pool::loan original(pool, n), encoded(pool, n), decoded(pool, n);
            detail::decode_tile<Arch>(from, part, original.floats());
            for (std::size_t f = 0; f < formats.size(); ++f) {
                const auto blocks = std::as_writable_bytes(encoded.floats())
                                        .first(find_format(formats[f])->block_bytes *
                                               (n / find_format(formats[f])->block_length));
                encode<Arch>(formats[f], original.floats(), part.row_length, {}, blocks);
                decode<Arch>(formats[f], blocks, decoded.floats());
                errors[index * formats.size() + f] =
                    compare_floats<Arch>(original.floats(), decoded.floats());
            }
        },
        [&](std::span<const tile> tiles) {
            for (std::size_t i = 0; i < tiles.size() * formats.size(); ++i)
                sums[i % formats.size()] += errors[i];
            detail::drop(from, tiles);
        });
    return sums;
}

}  // namespace qdial::model
