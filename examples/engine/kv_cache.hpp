// SPDX-License-Identifier: Apache-2.0
//
// Keys and values of the tokens so far, laid out for attention.hpp: keys in groups of sixteen
// positions, element by element; values position by position.
#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "attention.hpp"
#include "hyper_parameters.hpp"
#include "qdial/float16.hpp"
#include "qdial/formats/q8_0.hpp"
#include "session.hpp"
#include "threads.hpp"

namespace engine {

class kv_cache {
public:
    /// Throws `qdial::error` if Q8_0 does not divide the heads.
    kv_cache(const hyper_parameters& p, std::size_t context, kv_format format);

    /// Stores the keys (kv_heads * key_length floats) and values of a position.
    void store(std::size_t layer, std::size_t position, const float* keys, const float* values);

    /// Makes positions [begin, end) of a layer ready for `visit`.
    void open(std::size_t layer, std::size_t begin, std::size_t end, thread_pool& threads);

    /// Calls `fn(cached_head)` with a head of the layer that was opened.
    template <class Fn>
    void visit(std::size_t head, Fn&& fn) const {
        if (format_ == kv_format::f16)
            fn(view(halves_, head, open_layer_, context_, open_begin_));
        else if (format_ == kv_format::f32)
            fn(view(floats_, head, open_layer_, context_, open_begin_));
        else
            fn(view(opened_, head, 0, opened_positions_, 0));
    }

    [[nodiscard]] std::uint64_t bytes() const noexcept;

private:
    /// All layers and heads; `positions` of each, a multiple of key_group.
    template <class T>
    struct storage {
        std::vector<T> keys, values;
    };
    /// The keys of Q8_0 blocks of 32 elements, in the order of the others' elements.
    struct codes {
        std::vector<std::int8_t> keys;
        std::vector<qdial::float16> scales;
        std::vector<qdial::q8_0::block> values;
    };

    /// Where a head starts that is the `index`-th of all layers'.
    template <class T>
    [[nodiscard]] cached_head<T> view(const storage<T>& from, std::size_t head, std::size_t layer,
                                      std::size_t positions, std::size_t begin) const {
        const std::size_t index = (layer * kv_heads_ + head) * positions + begin;
        return {from.keys.data() + index * key_length_, from.values.data() + index * value_width_,
                key_length_, value_length_, open_begin_};
    }

    template <class T>
    void store_as(storage<T>& into, std::size_t layer, std::size_t position, const float* keys,
                  const float* values);
    void store_codes(std::size_t layer, std::size_t position, const float* keys,
                     const float* values);
    void open_group(std::size_t head, std::size_t group);

    kv_format format_;
    std::size_t context_;  // rounded up to key_group
    std::size_t kv_heads_, key_length_, value_length_;
    std::size_t value_width_;  // rounded up to a register of attention.hpp
    storage<qdial::float16> halves_;
    storage<float> floats_;
    codes codes_;

    std::size_t open_layer_ = 0, open_begin_ = 0, opened_positions_ = 0;
    storage<float> opened_;  // of Q8_0: the opened positions as floats
};

}  // namespace engine
