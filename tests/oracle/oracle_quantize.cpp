// SPDX-License-Identifier: Apache-2.0
//
//     QDIAL_PEER_GGML=FOLDER oracle_quantize [SEED]
//
// Differential test against libggml-base.so in FOLDER, opened at run time: random rows of many
// kinds, every encodable format, without and with importance weights; the bytes must be those of
// `ggml_quantize_chunk`, and the decoded floats those of the type's `to_float`, also for blocks of
// random bytes. The seed is printed, so that a failure can be run again.
#include <dlfcn.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "qdial/formats/list.hpp"
#include "qdial/kernels/dequantize.hpp"
#include "qdial/kernels/quantize.hpp"

namespace {

/// The start of `struct ggml_type_traits`.
struct peer_traits {
    const char* name;
    std::int64_t block_length;
    std::int64_t block_length_interleaved;
    std::size_t block_bytes;
    bool is_quantized;
    void (*to_float)(const void* blocks, float* row, std::int64_t length);
    void (*from_float_ref)(const float* row, void* blocks, std::int64_t length);
};

struct peer_library {
    const peer_traits* (*traits)(int type) = nullptr;
    std::size_t (*quantize_chunk)(int type, const float* source, void* target, std::int64_t start,
                                  std::int64_t rows, std::int64_t row_length,
                                  const float* importance) = nullptr;
};

template <class Function>
void find_symbol(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    if (function == nullptr) {
        std::fprintf(stderr, "libggml-base.so has no %s\n", name);
        std::exit(1);
    }
}

peer_library open_peer() {
    const char* folder = std::getenv("QDIAL_PEER_GGML");
    if (folder == nullptr) {
        std::fprintf(stderr, "QDIAL_PEER_GGML must name the folder of libggml-base.so\n");
        std::exit(2);
    }
    void* library = dlopen((std::string(folder) + "/libggml-base.so").c_str(), RTLD_NOW);
    if (library == nullptr) {
        std::fprintf(stderr, "%s\n", dlerror());
        std::exit(1);
    }
    peer_library peer;
    find_symbol(library, "ggml_get_type_traits", peer.traits);
    find_symbol(library, "ggml_quantize_chunk", peer.quantize_chunk);
    return peer;
}

using generator = std::mt19937_64;

float uniform(generator& random, float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(random);
}

float gaussian(generator& random) { return std::normal_distribution<float>()(random); }

struct row_kind {
    const char* name;
    void (*fill)(generator& random, std::span<float> row);
};

void fill_gaussian(generator& random, std::span<float> row) {
    const float scale = std::exp2(uniform(random, -20.0f, 6.0f));
    for (float& x : row) x = scale * gaussian(random);
}
void fill_heavy_tails(generator& random, std::span<float> row) {
    for (float& x : row) x = 0.02f * gaussian(random) / std::max(0.05f, std::abs(gaussian(random)));
}
void fill_positive(generator& random, std::span<float> row) {
    const float offset = uniform(random, 0.0f, 2.0f);
    for (float& x : row) x = offset + uniform(random, 0.0f, 1.0f);
}
void fill_negative(generator& random, std::span<float> row) {
    for (float& x : row) x = std::log(uniform(random, 1e-6f, 1.0f));
}
void fill_few_levels(generator& random, std::span<float> row) {
    const int levels = std::uniform_int_distribution<int>(1, 16)(random);
    const float step = uniform(random, 1e-3f, 1.0f);
    for (float& x : row)
        x = step * static_cast<float>(std::uniform_int_distribution<int>(-levels, levels)(random));
}
void fill_mostly_zero(generator& random, std::span<float> row) {
    for (float& x : row) x = uniform(random, 0.0f, 1.0f) < 0.05f ? gaussian(random) : 0.0f;
}
void fill_zero_runs(generator& random, std::span<float> row) {
    fill_gaussian(random, row);
    for (std::size_t i = 0; i < row.size(); i += 16)
        if (uniform(random, 0.0f, 1.0f) < 0.3f) std::ranges::fill(row.subspan(i, 16), 0.0f);
}
void fill_spikes(generator& random, std::span<float> row) {
    for (float& x : row) x = 1e-3f * gaussian(random);
    for (int i = 0; i < 4; ++i)
        row[std::uniform_int_distribution<std::size_t>(0, row.size() - 1)(random)] =
            uniform(random, -300.0f, 300.0f);
}
void fill_ties(generator& random, std::span<float> row) {  // +a and -a share the largest size
    const float a = uniform(random, 0.01f, 1.0f);
    for (float& x : row) x = uniform(random, 0.0f, 1.0f) < 0.5f ? a : -a;
}
void fill_constant(generator& random, std::span<float> row) {
    std::ranges::fill(row, uniform(random, -1.0f, 1.0f));
}
void fill_ramp(generator& random, std::span<float> row) {
    const float step = uniform(random, -0.01f, 0.01f);
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = step * static_cast<float>(i);
}
void fill_tiny(generator& random, std::span<float> row) {
    const float scale = std::exp2(uniform(random, -149.0f, -20.0f));
    for (float& x : row) x = scale * gaussian(random);
}
void fill_large(generator& random, std::span<float> row) {
    for (float& x : row) x = 1e4f * gaussian(random);
}
void fill_signed_zeros(generator& random, std::span<float> row) {
    for (float& x : row) {
        const float coin = uniform(random, 0.0f, 1.0f);
        x = coin < 0.4f ? 0.0f : coin < 0.8f ? -0.0f : 0.1f * gaussian(random);
    }
}
void fill_half_grid(generator& random, std::span<float> row) {  // what an F16 file holds
    fill_gaussian(random, row);
    for (float& x : row) x = qdial::to_float(qdial::to_float16(x));
}
void fill_row_scales(generator& random, std::span<float> row) {  // each sub-block its own scale
    for (std::size_t i = 0; i < row.size(); ++i) {
        const float scale = std::exp2(static_cast<float>(i / 16 % 24) - 18.0f);
        row[i] = scale * gaussian(random);
    }
}

constexpr row_kind row_kinds[] = {
    {"gaussian", fill_gaussian},         {"heavy tails", fill_heavy_tails},
    {"positive", fill_positive},         {"negative", fill_negative},
    {"few levels", fill_few_levels},     {"mostly zero", fill_mostly_zero},
    {"zero runs", fill_zero_runs},       {"spikes", fill_spikes},
    {"ties", fill_ties},                 {"constant", fill_constant},
    {"ramp", fill_ramp},                 {"tiny", fill_tiny},
    {"large", fill_large},               {"signed zeros", fill_signed_zeros},
    {"half grid", fill_half_grid},       {"row scales", fill_row_scales},
};

/// Importance weights as they occur, and with zeros and extremes.
std::vector<float> random_importance(generator& random, std::size_t length) {
    std::vector<float> weights(length);
    const int kind = std::uniform_int_distribution<int>(0, 3)(random);
    for (float& w : weights) {
        const float x = gaussian(random);
        w = kind == 0   ? x * x
            : kind == 1 ? 1.0f
            : kind == 2 ? (x > 0.0f ? x : 0.0f)
                        : std::exp2(8.0f * x);
    }
    return weights;
}

bool same_floats(std::span<const float> a, std::span<const float> b) {
    return std::ranges::equal(a, b, [](float x, float y) {
        return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y) ||
               (std::isnan(x) && std::isnan(y));
    });
}

/// One format against its peer. Counts rows, and comparisons that differ.
template <class F>
struct comparison {
    const peer_library& peer;
    generator& random;
    std::size_t rows = 0;
    std::size_t different = 0;

    void fail(const char* what, const char* kind, std::size_t length, bool weighted) {
        if (++different <= 5)
            std::printf("%s: other %s than the peer's: %s, rows of %zu%s\n",
                        std::string(F::name).c_str(), what, kind, length,
                        weighted ? ", with importance" : "");
    }

    void decode_both(std::span<const typename F::block> blocks, const char* kind,
                     std::size_t length, bool weighted) {
        std::vector<float> ours(blocks.size() * F::block_length);
        std::vector<float> theirs(ours.size());
        qdial::dequantize<F>(blocks, std::span<float>(ours));
        peer.traits(static_cast<int>(F::gguf_id))
            ->to_float(blocks.data(), theirs.data(), static_cast<std::int64_t>(theirs.size()));
        if (!same_floats(ours, theirs)) fail("floats", kind, length, weighted);
    }

    /// A few rows at once: SIMD lanes then hold blocks of different rows.
    void encode_both(const row_kind& kind, std::size_t length, bool weighted) {
        const std::size_t count = std::uniform_int_distribution<std::size_t>(1, 5)(random);
        std::vector<float> x(count * length);
        for (std::size_t i = 0; i < count; ++i)
            kind.fill(random, std::span(x).subspan(i * length, length));
        const std::vector<float> importance =
            weighted ? random_importance(random, length) : std::vector<float>{};
        std::vector<typename F::block> ours(x.size() / F::block_length);
        std::vector<typename F::block> theirs(ours.size());
        qdial::quantize_rows<F>(x, length, ours, importance);
        peer.quantize_chunk(static_cast<int>(F::gguf_id), x.data(), theirs.data(), 0,
                            static_cast<std::int64_t>(count), static_cast<std::int64_t>(length),
                            weighted ? importance.data() : nullptr);
        rows += count;
        if (std::memcmp(ours.data(), theirs.data(), ours.size() * sizeof(ours[0])) != 0)
            fail("bytes", kind.name, length, weighted);
        decode_both(theirs, kind.name, length, weighted);
    }

    void decode_random_bytes(std::size_t length) {
        std::vector<typename F::block> blocks(length / F::block_length);
        std::vector<unsigned char> bytes(blocks.size() * sizeof(blocks[0]));
        for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(random());
        std::memcpy(blocks.data(), bytes.data(), bytes.size());
        ++rows;
        decode_both(blocks, "random bytes", length, false);
    }
};

template <class F>
bool check_format(const peer_library& peer, std::uint64_t seed, int rounds) {
    const peer_traits* traits = peer.traits(static_cast<int>(F::gguf_id));
    if (traits->block_bytes != sizeof(typename F::block) || traits->to_float == nullptr) {
        std::printf("%s: the peer's traits do not look as expected\n",
                    std::string(F::name).c_str());
        return false;
    }
    generator random(seed + F::gguf_id);
    comparison<F> compare{peer, random};
    const std::size_t unit = std::max<std::size_t>(F::block_length, 32);
    for (int round = 0; round < rounds; ++round) {
        for (const row_kind& kind : row_kinds) {
            const std::size_t most = 4096 / unit;
            const std::size_t length =
                unit * std::uniform_int_distribution<std::size_t>(1, most)(random);
            compare.encode_both(kind, length, false);
            compare.encode_both(kind, length, true);
            compare.decode_random_bytes(length);
        }
    }
    std::printf("%-5s %6zu rows, %zu differ\n", std::string(F::name).c_str(), compare.rows,
                compare.different);
    return compare.different == 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::uint64_t seed =
        argc > 1 ? std::strtoull(argv[1], nullptr, 10) : std::random_device()();
    std::printf("seed %llu, backend %s\n", static_cast<unsigned long long>(seed),
                std::string(qdial::default_arch::name).c_str());
    const peer_library peer = open_peer();
    bool all_equal = true;
    qdial::for_each_format(qdial::all_formats{}, [&](auto f) {
        using F = decltype(f);
        // Activation formats are not in files: ggml_quantize_chunk does not know them.
        if constexpr (qdial::encodable_format<F> && F::name != "F32" && F::name != "Q8_1" &&
                      F::name != "Q8_K")
            all_equal = check_format<F>(peer, seed, 20) && all_equal;
    });
    return all_equal ? 0 : 1;
}
