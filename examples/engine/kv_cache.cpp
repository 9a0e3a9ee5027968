// SPDX-License-Identifier: Apache-2.0
#include "kv_cache.hpp"

#include <algorithm>
#include <string>

#include "qdial/endian.hpp"
#include "qdial/error.hpp"
#include "qdial/kernels/activations.hpp"
#include "qdial/kernels/dequantize.hpp"

namespace engine {

namespace {

constexpr std::size_t round_up(std::size_t n, std::size_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

float stored_as(float x, float) { return x; }
qdial::float16 stored_as(float x, qdial::float16) { return qdial::to_float16(x); }

constexpr std::size_t block = qdial::q8_0::block_length;

}  // namespace

kv_cache::kv_cache(const hyper_parameters& p, std::size_t context, kv_format format)
    : format_(format),
      context_(round_up(context, key_group)),
      kv_heads_(p.kv_heads),
      key_length_(p.key_length),
      value_length_(p.value_length),
      value_width_(round_up(p.value_length, 16)) {
    if (format == kv_format::q8_0 && (key_length_ % block != 0 || value_length_ % block != 0))
        throw qdial::error("found heads of " + std::to_string(key_length_) + " and " +
                           std::to_string(value_length_) +
                           " elements, a Q8_0 cache needs multiples of 32");
    const std::size_t rows = p.layers * kv_heads_ * context_;
    switch (format) {
        case kv_format::f32:
            floats_.keys.resize(rows * key_length_);
            floats_.values.resize(rows * value_width_);
            break;
        case kv_format::f16:
            halves_.keys.resize(rows * key_length_);
            halves_.values.resize(rows * value_width_);
            break;
        case kv_format::q8_0:
            codes_.keys.resize(rows * key_length_);
            codes_.scales.resize(rows * key_length_ / block);
            codes_.values.resize(rows * value_length_ / block);
            break;
    }
}

std::uint64_t kv_cache::bytes() const noexcept {
    const auto of = [](const auto& v) { return v.size() * sizeof v[0]; };
    return of(floats_.keys) + of(floats_.values) + of(halves_.keys) + of(halves_.values) +
           of(codes_.keys) + of(codes_.scales) + of(codes_.values) + of(opened_.keys) +
           of(opened_.values);
}

template <class T>
void kv_cache::store_as(storage<T>& into, std::size_t layer, std::size_t position,
                        const float* keys, const float* values) {
    for (std::size_t head = 0; head < kv_heads_; ++head) {
        const std::size_t first = (layer * kv_heads_ + head) * context_;
        T* k = into.keys.data() + (first + position / key_group * key_group) * key_length_ +
               position % key_group;
        for (std::size_t d = 0; d < key_length_; ++d)
            k[d * key_group] = stored_as(keys[head * key_length_ + d], T{});
        T* v = into.values.data() + (first + position) * value_width_;
        for (std::size_t d = 0; d < value_length_; ++d)
            v[d] = stored_as(values[head * value_length_ + d], T{});
    }
}

void kv_cache::store_codes(std::size_t layer, std::size_t position, const float* keys,
                           const float* values) {
    for (std::size_t head = 0; head < kv_heads_; ++head) {
        const std::size_t first = (layer * kv_heads_ + head) * context_;
        const std::size_t group = first + position / key_group * key_group;
        for (std::size_t d = 0; d < key_length_; d += block) {
            qdial::q8_0::block q;
            qdial::quantize_activations<qdial::q8_0>(
                std::span(keys + head * key_length_ + d, block), std::span(&q, 1));
            codes_.scales[(group * key_length_ + d * key_group) / block + position % key_group] =
                qdial::float16{qdial::little_endian(q.d)};
            std::int8_t* k = codes_.keys.data() + group * key_length_ + d * key_group +
                             position % key_group;
            for (std::size_t e = 0; e < block; ++e) k[e * key_group] = q.qs[e];
        }
        const std::size_t blocks = value_length_ / block;
        qdial::quantize_activations<qdial::q8_0>(
            std::span(values + head * value_length_, value_length_),
            std::span(codes_.values.data() + (first + position) * blocks, blocks));
    }
}

void kv_cache::store(std::size_t layer, std::size_t position, const float* keys,
                     const float* values) {
    switch (format_) {
        case kv_format::f32: return store_as(floats_, layer, position, keys, values);
        case kv_format::f16: return store_as(halves_, layer, position, keys, values);
        case kv_format::q8_0: return store_codes(layer, position, keys, values);
    }
}

void kv_cache::open(std::size_t layer, std::size_t begin, std::size_t end, thread_pool& threads) {
    open_layer_ = layer;
    open_begin_ = begin / key_group * key_group;
    if (format_ != kv_format::q8_0) return;
    opened_positions_ = round_up(end - open_begin_, key_group);
    const std::size_t rows = kv_heads_ * opened_positions_;
    if (opened_.keys.size() < rows * key_length_) opened_.keys.resize(rows * key_length_);
    if (opened_.values.size() < rows * value_width_) opened_.values.resize(rows * value_width_);
    const std::size_t groups = opened_positions_ / key_group;
    threads(kv_heads_ * groups, [&](std::size_t i) { open_group(i / groups, i % groups); });
}

void kv_cache::open_group(std::size_t head, std::size_t group) {
    const std::size_t from =
        (open_layer_ * kv_heads_ + head) * context_ + open_begin_ + group * key_group;
    const std::size_t to = head * opened_positions_ + group * key_group;
    const std::int8_t* code = codes_.keys.data() + from * key_length_;
    const qdial::float16* scale = codes_.scales.data() + from * key_length_ / block;
    float* key = opened_.keys.data() + to * key_length_;
    for (std::size_t d = 0; d < key_length_; d += block) {
        float scales[key_group];
        for (std::size_t k = 0; k < key_group; ++k) scales[k] = to_float(scale[d / block * 16 + k]);
        for (std::size_t e = 0; e < block * key_group; ++e)
            key[d * key_group + e] =
                scales[e % key_group] * static_cast<float>(code[d * key_group + e]);
    }
    const std::size_t blocks = value_length_ / block;
    qdial::dequantize<qdial::q8_0>(
        std::span<const qdial::q8_0::block>(codes_.values.data() + from * blocks,
                                            key_group * blocks),
        std::span(opened_.values.data() + to * value_width_, key_group * value_width_));
}

}  // namespace engine
