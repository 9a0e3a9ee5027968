// SPDX-License-Identifier: Apache-2.0
//
// Decoding to float32: in the L2 cache, and through more memory than the last-level cache holds.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "operations.hpp"
#include "paired.hpp"
#include "peer.hpp"
#include "qdial/formats/list.hpp"
#include "qdial/kernels/dequantize.hpp"
#include "qdial/simd/simd.hpp"
#include "sample_blocks.hpp"

namespace qdial::bench {
namespace {

/// What is decoded, chunk after chunk. Known only at run time, as in a program that uses qdial.
struct workload {
    std::size_t chunk_elements;
    std::size_t chunks;
};

/// 128 KiB of floats; with the blocks at most 256 KiB.
constexpr workload in_l2{1 << 15, 1};

/// Floats that fill the last-level cache twice.
workload beyond_caches() {
    std::size_t largest = std::size_t{32} << 20;
    for (const auto& cache : benchmark::CPUInfo::Get().caches)
        largest = std::max(largest, static_cast<std::size_t>(cache.size));
    return {in_l2.chunk_elements, 2 * largest / (in_l2.chunk_elements * sizeof(float))};
}

/// Chunks of blocks, all the same but each in its own memory.
template <format F>
class chunked_blocks {
public:
    explicit chunked_blocks(const workload& work)
        : chunk_blocks_(work.chunk_elements / F::block_length) {
        const auto chunk = sample_blocks<F>(work.chunk_elements);
        blocks_.reserve(work.chunks * chunk.size());
        for (std::size_t i = 0; i < work.chunks; ++i)
            blocks_.insert(blocks_.end(), chunk.begin(), chunk.end());
    }
    [[nodiscard]] std::span<const typename F::block> chunk(std::size_t i) const {
        return std::span(blocks_).subspan(i * chunk_blocks_, chunk_blocks_);
    }

private:
    std::size_t chunk_blocks_;
    buffer<typename F::block> blocks_;
};

/// A plain store of one value: what is left of decoding without reading and computing.
void store_floats(std::span<float> out, float value) {
    using O = simd::ops<default_arch>;
    static_assert(in_l2.chunk_elements % (4 * O::width) == 0);
    const auto v = O::splat(value);
    for (std::size_t i = 0; i < out.size(); i += 4 * O::width) {
        O::store(out.data() + i, v);
        O::store(out.data() + i + O::width, v);
        O::store(out.data() + i + 2 * O::width, v);
        O::store(out.data() + i + 3 * O::width, v);
    }
}

template <decodable_format F>
bool same_floats(const peer_library& peer, std::span<const typename F::block> blocks) {
    const std::size_t elements = blocks.size() * F::block_length;
    buffer<float> ours(elements), theirs(elements);
    dequantize<F, float>(blocks, ours);
    peer.traits(F::gguf_id).to_float(blocks.data(), theirs.data(),
                                     static_cast<std::int64_t>(elements));
    return std::memcmp(ours.data(), theirs.data(), elements * sizeof(float)) == 0;
}

template <decodable_format F>
void measure(paired_run& run, const workload& work) {
    const chunked_blocks<F> blocks(work);
    const chunked_blocks<f16> halves(work);
    buffer<float> floats(work.chunks * work.chunk_elements);

    // Every call of anyone takes the next chunk, so that none finds what another left in a cache.
    std::size_t next = 0;
    const auto next_chunk = [&] { return next = next + 1 < work.chunks ? next + 1 : 0; };
    const auto target = [&](std::size_t i) {
        return std::span(floats).subspan(i * work.chunk_elements, work.chunk_elements);
    };

    run.ours([&] {
        const std::size_t i = next_chunk();
        dequantize<F, float>(blocks.chunk(i), target(i));
    });
    run.against("vs_f16", [&] {
        const std::size_t i = next_chunk();
        dequantize<f16, float>(halves.chunk(i), target(i));
    });
    run.against("store_fraction", [&] { store_floats(target(next_chunk()), 1.0f); });
    const peer_library* peer = peer_library::get();
    if (peer == nullptr) {
        run.note("no peer");
    } else if (const auto to_float = peer->traits(F::gguf_id).to_float; to_float == nullptr) {
        run.note("the peer has no decoder of it");
    } else {
        if (!same_floats<F>(*peer, blocks.chunk(0))) run.note("floats differ from the peer's");
        run.against("vs_peer", [&, to_float] {
            const std::size_t i = next_chunk();
            to_float(blocks.chunk(i).data(), target(i).data(),
                     static_cast<std::int64_t>(work.chunk_elements));
        });
    }
    run.run(work.chunk_elements, target(0).size_bytes() + blocks.chunk(0).size_bytes());
}

void register_all(const std::string& operation, const workload& work) {
    for_each_format(all_formats{}, [&](auto f) {
        using F = decltype(f);
        if constexpr (F::decodable)
            add_benchmark(operation, F::name, [=](paired_run& run) { measure<F>(run, work); });
    });
}

}  // namespace

void register_dequantize() {
    register_all("dequantize", in_l2);
    register_all("dequantize_memory", beyond_caches());
}

}  // namespace qdial::bench
