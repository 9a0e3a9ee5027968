// SPDX-License-Identifier: Apache-2.0
#include "kernels.hpp"

#include <utility>

#include "qdial/model/compare.hpp"
#include "qdial/model/convert.hpp"

namespace tool {

namespace model = qdial::model;

void convert(const model::conversion& job, qdial::gguf::writer::sink write, thread_pool& threads,
             const std::function<void(const model::conversion_progress&)>& progress) {
    model::convert(job, std::move(write), threads, progress);
}

model::weight_error compare_tensors(const model::source_tensor& reference,
                                    const model::source_tensor& other, thread_pool& threads) {
    return model::compare_tensors(reference, other, threads);
}

std::vector<model::weight_error> encoding_errors(const model::source_tensor& from,
                                                 std::span<const std::uint32_t> formats,
                                                 thread_pool& threads) {
    return model::encoding_errors(from, formats, threads);
}

}  // namespace tool
