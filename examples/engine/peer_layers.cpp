// SPDX-License-Identifier: Apache-2.0
#include "peer_layers.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "../../bench/ggml_api.hpp"
#include "qdial/error.hpp"

namespace engine {

namespace ggml = qdial::bench::ggml;

namespace {

std::int64_t dimension(std::size_t n) { return static_cast<std::int64_t>(n); }

/// One matrix in one of ggml's buffer types.
class matrix {
public:
    matrix(const ggml::api& a, ggml::buffer_type* type, const peer_matrix& m)
        : a_(a), context_(a.init({2 * a.tensor_overhead(), nullptr, true})) {
        weights_ = a.new_tensor_2d(context_, static_cast<int>(m.format), dimension(m.row_length),
                                   dimension(m.rows));
        memory_ = a.allocate_tensors(context_, type);
        if (memory_ != nullptr) a.set_usage(memory_, ggml::usage_weights);
    }
    ~matrix() {
        if (memory_ != nullptr) a_.free_buffer(memory_);
        a_.free(context_);
    }
    matrix(const matrix&) = delete;
    matrix& operator=(const matrix&) = delete;

    [[nodiscard]] ggml::tensor* weights() const { return weights_; }

    /// Asks as llama.cpp does when it loads a model: with a multiplication by some rows.
    [[nodiscard]] bool supported(std::size_t row_length) const {
        if (memory_ == nullptr) return false;
        ggml::context* scratch = a_.init({4 * a_.tensor_overhead(), nullptr, true});
        ggml::tensor* x = a_.new_tensor_2d(scratch, ggml::type_f32, dimension(row_length), 512);
        const bool result = a_.supports_op(a_.cpu, a_.mul_mat(scratch, weights_, x));
        a_.free(scratch);
        return result;
    }

private:
    const ggml::api& a_;
    ggml::context* context_;
    ggml::tensor* weights_ = nullptr;
    ggml::memory_buffer* memory_ = nullptr;
};

}  // namespace

struct peer_layers::impl {
    ggml::api a;
    std::vector<std::unique_ptr<matrix>> matrices;
    std::vector<peer_matrix> shapes;
    int threads;
    ggml::thread_pool* pool = nullptr;
    ggml::context* context = nullptr;
    ggml::memory_buffer* memory = nullptr;
    ggml::graph* graph = nullptr;

    impl(const std::filesystem::path& folder, std::span<const peer_matrix> all, std::size_t count)
        : a(folder), shapes(all.begin(), all.end()), threads(static_cast<int>(count)) {
        for (const peer_matrix& m : all) load(m);
        // Larger than the structure has ever been; its contents stay ggml's.
        alignas(16) std::array<std::byte, 4096> parameters{};
        a.pool_parameters(parameters.data(), threads);
        pool = a.new_pool(parameters.data());
        a.set_threads(a.cpu_backend, threads);
        a.set_pool(a.cpu_backend, pool);
    }
    ~impl() {
        clear();
        a.set_pool(a.cpu_backend, nullptr);
        a.free_pool(pool);
    }
    impl(const impl&) = delete;
    impl& operator=(const impl&) = delete;

    void load(const peer_matrix& m) {
        // The plain buffer type, the first of the list, comes last: it multiplies everything.
        const std::size_t types = a.buffer_types.size();
        for (std::size_t i = 1; i <= types; ++i) {
            auto loaded = std::make_unique<matrix>(a, a.buffer_types[i % types], m);
            if (!loaded->supported(m.row_length)) continue;
            a.set_tensor(loaded->weights(), m.blocks.data(), 0, m.blocks.size());
            matrices.push_back(std::move(loaded));
            return;
        }
        throw qdial::error("the peer: it does not multiply weights of type " +
                           std::to_string(m.format));
    }
    void clear() {
        if (memory != nullptr) a.free_buffer(memory);
        if (context != nullptr) a.free(context);
        memory = nullptr;
        context = nullptr;
    }

    /// All results share one place, and inputs of the same length too.
    void prepare(std::size_t count, std::size_t n) {
        clear();
        context =
            a.init({(2 * count + 8) * a.tensor_overhead() + a.graph_overhead(2 * count + 8, false),
                    nullptr, true});
        std::size_t longest = 0, widest = 0;
        for (std::size_t i = 0; i < count; ++i) {
            longest = std::max(longest, shapes[i].rows);
            widest = std::max(widest, shapes[i].row_length);
        }
        const std::size_t x_bytes = (n * widest * sizeof(float) + 63) / 64 * 64;
        memory = a.allocate(a.buffer_types[0], x_bytes + n * longest * sizeof(float));
        if (memory == nullptr) throw qdial::error("the peer: no memory for its activations");
        auto* base = static_cast<std::byte*>(a.buffer_base(memory));
        graph = a.new_graph(context, 2 * count + 8, false);
        std::map<std::size_t, ggml::tensor*> inputs;
        std::vector<float> values(n * widest);
        for (std::size_t i = 0; i < values.size(); ++i)
            values[i] = static_cast<float>(i * 7919 % 2003) / 1001.5f - 1.0f;
        for (std::size_t i = 0; i < count; ++i) {
            ggml::tensor*& x = inputs[shapes[i].row_length];
            if (x == nullptr) {
                x = a.new_tensor_2d(context, ggml::type_f32, dimension(shapes[i].row_length),
                                    dimension(n));
                a.place_tensor(memory, x, base);
                a.set_tensor(x, values.data(), 0, n * shapes[i].row_length * sizeof(float));
            }
            ggml::tensor* y = a.mul_mat(context, matrices[i]->weights(), x);
            a.place_tensor(memory, y, base + x_bytes);
            a.build_forward(graph, y);
        }
    }
};

peer_layers::peer_layers(const std::filesystem::path& folder, std::span<const peer_matrix> matrices,
                         std::size_t threads)
    : impl_(std::make_unique<impl>(folder, matrices, threads)) {}
peer_layers::~peer_layers() = default;

void peer_layers::prepare(std::size_t count, std::size_t n) { impl_->prepare(count, n); }

void peer_layers::multiply() {
    if (impl_->a.compute(impl_->a.cpu_backend, impl_->graph) != ggml::status_success)
        throw qdial::error("the peer: a multiplication failed");
}

const std::string& peer_layers::description() const { return impl_->a.description; }

}  // namespace engine
