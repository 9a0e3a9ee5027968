// SPDX-License-Identifier: Apache-2.0
#include "peer_graph.hpp"

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "../ggml_api.hpp"
#include "../peer.hpp"

namespace qdial::bench {

using namespace ggml;

struct peer_graphs::api : ggml::api {
    using ggml::api::api;
};

/// The copies of a matrix in one buffer type.
struct peer_graphs::weights {
    const api& a;
    context* ctx;
    memory_buffer* memory = nullptr;
    std::vector<tensor*> copies;

    weights(const api& functions, buffer_type* type, const problem& p, std::size_t count)
        : a(functions), ctx(a.init({(count + 1) * a.tensor_overhead(), nullptr, true})) {
        for (std::size_t i = 0; i < count; ++i)
            copies.push_back(a.new_tensor_2d(ctx, static_cast<int>(p.format),
                                             static_cast<std::int64_t>(p.row_length),
                                             static_cast<std::int64_t>(p.rows)));
        memory = a.allocate_tensors(ctx, type);
        if (memory != nullptr) a.set_usage(memory, usage_weights);
    }
    ~weights() {
        if (memory != nullptr) a.free_buffer(memory);
        a.free(ctx);
    }
    weights(const weights&) = delete;
    weights& operator=(const weights&) = delete;

    /// Asks as llama.cpp does when it loads a model: with the operation on such a tensor.
    [[nodiscard]] bool supported(const problem& p) const {
        if (memory == nullptr) return false;
        context* scratch = a.init({4 * a.tensor_overhead(), nullptr, true});
        tensor* x = a.new_tensor_2d(scratch, type_f32, static_cast<std::int64_t>(p.row_length),
                                    static_cast<std::int64_t>(p.n));
        const bool result = a.supports_op(a.cpu, a.mul_mat(scratch, copies[0], x));
        a.free(scratch);
        return result;
    }

    void set(const problem& p) const {
        visit(p.format, [&](auto f) {
            using F = decltype(f);
            if constexpr (measured_format<F>) {
                const auto blocks = sample_matrix<F>(p.rows, p.row_length);
                for (tensor* copy : copies)
                    a.set_tensor(copy, blocks.data(), 0, blocks.size() * sizeof blocks[0]);
            }
        });
    }
};

/// A graph for every copy; they share the activations and the place of the results.
struct peer_graphs::graphs {
    const api& a;
    context* ctx;
    memory_buffer* memory;
    thread_pool* pool;
    std::vector<graph*> all;
    tensor* y = nullptr;
    std::size_t next = 0, result_floats;
    int threads;

    graphs(const api& functions, const weights& w, const problem& p)
        : a(functions), result_floats(p.rows * p.n), threads(static_cast<int>(p.threads)) {
        constexpr std::size_t nodes = 8, alignment = 64;
        const std::size_t count = w.copies.size();
        ctx = a.init(
            {(count + 2) * (a.tensor_overhead() + a.graph_overhead(nodes, false)), nullptr, true});
        const std::size_t x_bytes =
            (p.n * p.row_length * sizeof(float) + alignment - 1) / alignment * alignment;
        memory = a.allocate(a.buffer_types[0], x_bytes + result_floats * sizeof(float));
        auto* base = static_cast<std::byte*>(a.buffer_base(memory));
        tensor* x = a.new_tensor_2d(ctx, type_f32, static_cast<std::int64_t>(p.row_length),
                                    static_cast<std::int64_t>(p.n));
        a.place_tensor(memory, x, base);
        const auto values = sample_activations(p.n, p.row_length);
        a.set_tensor(x, values.data(), 0, values.size() * sizeof(float));
        for (tensor* copy : w.copies) {
            y = a.mul_mat(ctx, copy, x);
            a.place_tensor(memory, y, base + x_bytes);
            all.push_back(a.new_graph(ctx, nodes, false));
            a.build_forward(all.back(), y);
        }
        // Larger than the structure has ever been; its contents stay the peer's.
        alignas(16) std::array<std::byte, 4096> parameters{};
        a.pool_parameters(parameters.data(), threads);
        pool = a.new_pool(parameters.data());
    }
    ~graphs() {
        a.set_pool(a.cpu_backend, nullptr);
        a.free_pool(pool);
        a.free_buffer(memory);
        a.free(ctx);
    }
    graphs(const graphs&) = delete;
    graphs& operator=(const graphs&) = delete;

    double multiply(std::size_t calls) {
        a.set_threads(a.cpu_backend, threads);
        a.set_pool(a.cpu_backend, pool);
        double (*clock)() = threads == 1 ? thread_seconds : wall_seconds;
        const double start = clock();
        for (std::size_t i = 0; i < calls; ++i) {
            if (a.compute(a.cpu_backend, all[next]) != status_success)
                peer_failure("a multiplication failed");
            next = (next + 1) % all.size();
        }
        const double seconds = clock() - start;
        // Its threads would go on polling while others are measured; a new graph wakes them.
        if (threads > 1) a.pause_pool(pool);
        return seconds;
    }
};

const std::string& peer_graphs::description() const { return api_->description; }

peer_graphs::peer_graphs() {
    const char* folder = std::getenv("QDIAL_PEER_GGML");
    if (folder == nullptr) peer_failure("not set");
    try {
        api_ = std::make_unique<api>(folder);
    } catch (const error& e) {
        peer_failure(e.what());
    }
    for (buffer_type* type : api_->buffer_types)
        type_names_.emplace_back(api_->buffer_type_name(type));
    weights_.resize(type_names_.size());
    graphs_.resize(type_names_.size());
}
peer_graphs::~peer_graphs() { unload(); }

bool peer_graphs::load(std::size_t type, const problem& p, std::size_t copies) {
    graphs_[type].reset();
    weights_[type].reset();
    auto loaded = std::make_unique<weights>(*api_, api_->buffer_types[type], p, copies);
    if (!loaded->supported(p)) return false;
    loaded->set(p);
    weights_[type] = std::move(loaded);
    return true;
}

void peer_graphs::unload() {
    for (auto& g : graphs_) g.reset();
    for (auto& w : weights_) w.reset();
}

void peer_graphs::prepare(std::size_t type, const problem& p) {
    graphs_[type].reset();
    graphs_[type] = std::make_unique<graphs>(*api_, *weights_[type], p);
}

double peer_graphs::multiply(std::size_t type, std::size_t calls) {
    return graphs_[type]->multiply(calls);
}

std::vector<float> peer_graphs::results(std::size_t type) const {
    std::vector<float> y(graphs_[type]->result_floats);
    api_->get_tensor(graphs_[type]->y, y.data(), 0, y.size() * sizeof(float));
    return y;
}

}  // namespace qdial::bench
