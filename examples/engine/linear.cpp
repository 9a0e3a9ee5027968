// SPDX-License-Identifier: Apache-2.0
#include "linear.hpp"

#include <algorithm>

#include "qdial/error.hpp"
#include "qdial/formats/list.hpp"
#include "qdial/kernels/gemm.hpp"
#include "qdial/model/codec.hpp"
#include "vector_math.hpp"

namespace engine {

void linear_input::set(const float* rows, std::size_t n, std::size_t row_length) noexcept {
    rows_ = rows;
    n_ = n;
    row_length_ = row_length;
    for (packed_rows& p : packed_) p.current = false;
}

linear_input::packed_rows& linear_input::find(std::uint32_t format) {
    for (packed_rows& p : packed_)
        if (p.format == format) return p;
    return packed_.emplace_back(packed_rows{format, {}, false});
}

template <class A>
qdial::packed_activations<A> linear_input::packed(thread_pool& threads) {
    packed_rows& p = find(A::gguf_id);
    const std::size_t size = qdial::packed_activations_size<A>(n_, row_length_);
    if (!p.current) {
        if (p.bytes.size() < size) p.bytes = aligned_bytes(size);
        qdial::pack_activations<A>(rows_, n_, row_length_, row_length_,
                                   std::span(p.bytes.data(), size), threads);
        p.current = true;
    }
    return {p.bytes.data(), n_, row_length_};
}

namespace {

/// Calls fn(F{}) for the packable format with this GGUF id; false if it is not one.
template <class Fn>
bool visit_packable(std::uint32_t format, Fn&& fn) {
    bool done = false;
    qdial::visit(format, [&]<class F>(F f) {
        if constexpr (qdial::packable_format<F>) {
            fn(f);
            done = true;
        }
    });
    return done;
}

}  // namespace

linear::linear(const qdial::gguf::tensor& tensor, std::vector<float> bias, thread_pool& threads)
    : name_(tensor.name),
      rows_(tensor.shape.row_count()),
      row_length_(tensor.shape.row_length()),
      format_(tensor.format.gguf_id),
      bias_(std::move(bias)) {
    const bool known = visit_packable(format_, [&]<class F>(F) {
        packed_ = aligned_bytes(qdial::pack_size<F>(rows_, row_length_));
        qdial::model::detail::with_blocks<typename F::block>(tensor.data, [&](auto blocks) {
            qdial::pack<F>(blocks, row_length_, std::span(packed_.data(), packed_.size()), threads);
        });
    });
    if (!known)
        throw qdial::error("tensor " + name_ + ": its type " + std::string(tensor.format.name) +
                           " has no kernels");
}

void linear::multiply(linear_input& x, float* y, thread_pool& threads) const {
    visit_packable(format_, [&]<class F>(F) {
        const qdial::packed_matrix<F> w{packed_.data(), rows_, row_length_};
        qdial::gemm<F>(w, x.packed<qdial::packed_activation<F>>(threads), y, rows_,
                       qdial::output::overwrite, threads);
    });
    if (!bias_.empty())
        threads(x.count(), [&](std::size_t j) { add(y + j * rows_, bias_.data(), rows_); });
}

}  // namespace engine
