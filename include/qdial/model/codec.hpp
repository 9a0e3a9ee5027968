// SPDX-License-Identifier: Apache-2.0
//
// Encoding and decoding in a format that is only known at run time, between floats and the bytes
// that files hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "qdial/error.hpp"
#include "qdial/formats/list.hpp"
#include "qdial/kernels/dequantize.hpp"
#include "qdial/kernels/quantize.hpp"
#include "qdial/model/description.hpp"
#include "qdial/simd/arch.hpp"

namespace qdial::model {

namespace detail {

/// Calls `fn` with the bytes as blocks. Data of files with an unusual alignment is moved first.
template <class Block, class Fn>
void with_blocks(std::span<const std::byte> bytes, Fn&& fn) {
    const std::size_t count = bytes.size() / sizeof(Block);
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(Block) == 0) {
        fn(std::span<const Block>(reinterpret_cast<const Block*>(bytes.data()), count));
        return;
    }
    const auto moved = std::make_unique_for_overwrite<Block[]>(count);
    std::memcpy(static_cast<void*>(moved.get()), bytes.data(), count * sizeof(Block));
    fn(std::span<const Block>(moved.get(), count));
}

}  // namespace detail

/// Decodes `blocks`, stored in the format with this GGUF id, into `out`, as many floats as they
/// hold. Throws `error` for formats that cannot be decoded.
template <class Arch = default_arch>
void decode(std::uint32_t format, std::span<const std::byte> blocks, std::span<float> out) {
    bool done = false;
    visit(format, [&]<class F>(F) {
        if constexpr (F::decodable) {
            detail::with_blocks<typename F::block>(
                blocks, [&](auto typed) { dequantize<F, float, Arch>(typed, out); });
            done = true;
        }
    });
    if (!done) throw error(format_name(format) + " cannot be decoded");
}

/// Encodes whole rows, or parts of rows, of `row_length` floats (a multiple of the block length)
/// into `out`, which is aligned for any block and exactly as large as they get. `importance` is
/// empty or holds a weight for each column. Throws `error` for formats that cannot be encoded.
template <class Arch = default_arch>
void encode(std::uint32_t format, std::span<const float> rows, std::size_t row_length,
            std::span<const float> importance, std::span<std::byte> out) {
    bool done = false;
    visit(format, [&]<class F>(F) {
        if constexpr (F::encodable) {
            using block = typename F::block;
            quantize_rows<F>(
                rows, row_length,
                std::span<block>(reinterpret_cast<block*>(out.data()), out.size() / sizeof(block)),
                importance);
            done = true;
        }
    });
    if (!done) throw error(format_name(format) + " cannot be encoded");
}

}  // namespace qdial::model
