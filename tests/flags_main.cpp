// SPDX-License-Identifier: Apache-2.0
//
//     flags_main GOLDEN_BLOCKS_FOLDER
//
// Encodes the golden rows to every format, without and with importance weights, compares the bytes
// with the reference's, and prints one checksum per format of the decoded floats, for some formats
// also of packed products. The flags matrix compiles it with many compilers and flags: none may
// change a byte or a printed line.
#include <bit>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "qdial/formats/list.hpp"
#include "qdial/kernels/dequantize.hpp"
#include "qdial/kernels/gemm.hpp"
#include "qdial/kernels/quantize.hpp"

namespace {

constexpr std::size_t row_length = 1024;

std::vector<char> read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<float> read_floats(const std::string& path) {
    const std::vector<char> bytes = read_file(path);
    std::vector<float> floats(bytes.size() / sizeof(float));
    std::memcpy(floats.data(), bytes.data(), floats.size() * sizeof(float));
    return floats;
}

/// "Q4_K" is in q4_K.bin: the files are named in lower case but for the K.
std::string file_stem(std::string_view name) {
    std::string stem;
    for (const char c : name)
        stem += c == 'K' ? c : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return stem;
}

/// FNV-1a over the bits of the floats.
std::uint64_t checksum(const std::vector<float>& floats) {
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (const float x : floats) hash = (hash ^ std::bit_cast<std::uint32_t>(x)) * 0x100000001b3u;
    return hash;
}

/// Formats whose packed products are checked: one of each kind of arithmetic.
template <class F>
inline constexpr bool multiplied =
    F::name == "F16" || F::name == "Q5_1" || F::name == "Q4_K" || F::name == "Q6_K";

/// The checksum of the matrix times the first three rows of the input.
template <class F>
std::uint64_t product_checksum(const std::vector<typename F::block>& blocks,
                               const std::vector<float>& input) {
    using A = qdial::packed_activation<F>;
    constexpr std::size_t n = 3;
    const std::size_t rows = input.size() / row_length;
    std::vector<std::byte> weights(qdial::pack_size<F>(rows, row_length));
    std::vector<std::byte> activations(qdial::packed_activations_size<A>(n, row_length));
    qdial::pack<F>(std::span<const typename F::block>(blocks), row_length, std::span(weights));
    qdial::pack_activations<A>(input.data(), n, row_length, row_length, std::span(activations));
    std::vector<float> y(n * rows);
    qdial::gemm<F>({weights.data(), rows, row_length}, {activations.data(), n, row_length},
                   y.data(), rows);
    return checksum(y);
}

/// Blocks whose bytes differ from the reference's; prints the decoded checksum.
template <class F>
std::size_t check(const std::string& folder, const std::vector<float>& input,
                  const std::vector<float>& importance) {
    const std::string stem = file_stem(F::name) + (importance.empty() ? "" : ".imatrix");
    const std::vector<char> expected = read_file(folder + "/" + stem + ".bin");
    std::vector<typename F::block> blocks(input.size() / F::block_length);
    if (expected.size() != blocks.size() * sizeof(typename F::block)) {
        std::printf("%s: golden bytes missing or of the wrong size\n", stem.c_str());
        return 1;
    }
    qdial::quantize_rows<F>(input, row_length, blocks, importance);

    std::size_t different = 0;
    for (std::size_t i = 0; i < blocks.size(); ++i)
        different += std::memcmp(&blocks[i], expected.data() + i * sizeof(blocks[i]),
                                 sizeof(blocks[i])) != 0;

    std::vector<float> decoded(input.size());
    qdial::dequantize<F>(std::span<const typename F::block>(blocks), std::span<float>(decoded));
    std::printf("%s %016llx", stem.c_str(), static_cast<unsigned long long>(checksum(decoded)));
    if constexpr (multiplied<F>)
        std::printf(" product %016llx",
                    static_cast<unsigned long long>(product_checksum<F>(blocks, input)));
    std::printf(" %zu different\n", different);
    return different;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: flags_main GOLDEN_BLOCKS_FOLDER\n");
        return 2;
    }
    const std::string folder = argv[1];
    const std::vector<float> input = read_floats(folder + "/input.f32");
    const std::vector<float> importance = read_floats(folder + "/imatrix.f32");
    if (input.empty() || importance.size() != row_length) {
        std::fprintf(stderr, "%s: input.f32 or imatrix.f32 missing\n", argv[1]);
        return 1;
    }
    std::size_t formats = 0;
    std::size_t different = 0;
    qdial::for_each_format(qdial::all_formats{}, [&](auto f) {
        using F = decltype(f);
        // F32 and the activation formats have no golden bytes.
        if constexpr (qdial::encodable_format<F> && F::name != "F32" && F::name != "Q8_1" &&
                      F::name != "Q8_K") {
            ++formats;
            different += check<F>(folder, input, {});
            different += check<F>(folder, input, importance);
        }
    });
    std::printf("%zu formats\n", formats);
    return formats == 0 || different != 0;
}
