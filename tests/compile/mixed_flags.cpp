// SPDX-License-Identifier: Apache-2.0
//
// Every kernel for every format, at the default backend: see mixed_flags.sh.
#include "qdial/formats/list.hpp"
#include "qdial/kernels/dequantize.hpp"
#include "qdial/kernels/dot.hpp"
#include "qdial/kernels/quantize.hpp"

template <class F>
static void use_kernels() {
    typename F::block block[8]{};
    float row[8 * F::block_length]{};
    if constexpr (qdial::encodable_format<F>) {
        qdial::quantize<F>(row, block, row);
        qdial::quantize_rows<F>(row, F::block_length, block);
    }
    if constexpr (qdial::decodable_format<F>)
        qdial::dequantize<F>(std::span<const typename F::block>(block), std::span<float>(row));
    if constexpr (requires { typename F::activation; }) {
        typename F::activation::block activations[8 * F::block_length /
                                                  F::activation::block_length]{};
        static_cast<void>(qdial::dot<F>(std::span<const typename F::block>(block),
                                        std::span<const typename F::activation::block>(activations)));
    }
}

template <class... Fs>
static void use_all(qdial::format_list<Fs...>) {
    (use_kernels<Fs>(), ...);
}

int main() {
    use_all(qdial::all_formats{});
}
