// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <cstdio>

#include "qdial/formats/q8_0.hpp"
#include "qdial/kernels/dequantize.hpp"
#include "qdial/kernels/quantize.hpp"

int main() {
    std::array<float, 64> row{};
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(i) - 32.0f;

    std::array<qdial::q8_0::block, 2> blocks{};
    qdial::quantize<qdial::q8_0>(row, blocks);
    std::array<float, 64> decoded{};
    qdial::dequantize<qdial::q8_0>(blocks, std::span<float>(decoded));

    for (std::size_t i = 0; i < row.size(); ++i) {
        if (std::abs(row[i] - decoded[i]) > 0.13f) {  // half a step of 32 / 127
            std::printf("element %zu: %g became %g\n", i, static_cast<double>(row[i]),
                        static_cast<double>(decoded[i]));
            return 1;
        }
    }
    return 0;
}
