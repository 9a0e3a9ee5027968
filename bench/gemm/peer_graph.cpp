// SPDX-License-Identifier: Apache-2.0
#include "peer_graph.hpp"

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "../peer.hpp"

namespace qdial::bench {
namespace {

// The peer's types, of which only addresses are used here.
struct context;
struct tensor;
struct graph;
struct backend;
struct device;
struct registration;
struct buffer_type;
struct memory_buffer;
struct thread_pool;

/// `struct ggml_init_params` of ggml.h.
struct init_parameters {
    std::size_t memory_bytes;
    void* memory;
    bool no_allocation;
};

constexpr int type_f32 = 0, usage_weights = 1, status_success = 0;

}  // namespace

/// The functions of ggml.h, ggml-backend.h and ggml-cpu.h that a multiplication takes.
struct peer_graphs::api {
    context* (*init)(init_parameters);
    void (*free)(context*);
    std::size_t (*tensor_overhead)();
    std::size_t (*graph_overhead)(std::size_t nodes, bool gradients);
    tensor* (*new_tensor_2d)(context*, int type, std::int64_t row_length, std::int64_t rows);
    tensor* (*mul_mat)(context*, tensor* weights, tensor* activations);
    graph* (*new_graph)(context*, std::size_t nodes, bool gradients);
    void (*build_forward)(graph*, tensor*);

    registration* (*load)(const char* path);
    device* (*get_device)(registration*, std::size_t index);
    void* (*get_function)(registration*, const char* name);
    backend* (*init_device)(device*, const char* parameters);
    bool (*supports_op)(device*, const tensor*);
    buffer_type* (*get_buffer_type)(device*);
    const char* (*buffer_type_name)(buffer_type*);
    memory_buffer* (*allocate_tensors)(context*, buffer_type*);
    memory_buffer* (*allocate)(buffer_type*, std::size_t bytes);
    void* (*buffer_base)(memory_buffer*);
    void (*set_usage)(memory_buffer*, int usage);
    int (*place_tensor)(memory_buffer*, tensor*, void* address);
    void (*free_buffer)(memory_buffer*);
    void (*set_tensor)(tensor*, const void* data, std::size_t offset, std::size_t bytes);
    void (*get_tensor)(const tensor*, void* data, std::size_t offset, std::size_t bytes);
    int (*compute)(backend*, graph*);
    void (*set_log)(void (*log)(int level, const char* text, void* user), void* user);

    buffer_type** (*extra_buffer_types)(device*) = nullptr;
    void (*set_threads)(backend*, int threads);
    void (*pool_parameters)(void* parameters, int threads);
    thread_pool* (*new_pool)(void* parameters);
    void (*pause_pool)(thread_pool*);
    void (*free_pool)(thread_pool*);
    void (*set_pool)(backend*, thread_pool*);

    device* cpu = nullptr;
    backend* cpu_backend = nullptr;
    std::vector<buffer_type*> buffer_types;
    std::string description;

    explicit api(const std::filesystem::path& folder) {
        const auto open = [&](const char* name) {
            void* library = dlopen((folder / name).c_str(), RTLD_NOW | RTLD_GLOBAL);
            if (library == nullptr) peer_failure(dlerror());
            return library;
        };
        void* base = open("libggml-base.so");
        void* loader = open("libggml.so");
        find_base_functions(base);
        find_peer_function(loader, "ggml_backend_load", load);
        const peer_cpu_library library = find_peer_cpu_library(folder);
        if (library.handle == nullptr) peer_failure("no libggml-cpu*.so for this CPU");
        const char* (*version)() = nullptr;
        const char* (*commit)() = nullptr;
        find_peer_function(base, "ggml_version", version);
        find_peer_function(base, "ggml_commit", commit);
        description = std::string("ggml ") + version() + " (" + commit() + "), " +
                      library.path.filename().string();
        find_pool_functions(library.handle);
        open_device(library.path);
    }

private:
    void find_base_functions(void* base) {
        find_peer_function(base, "ggml_init", init);
        find_peer_function(base, "ggml_free", free);
        find_peer_function(base, "ggml_tensor_overhead", tensor_overhead);
        find_peer_function(base, "ggml_graph_overhead_custom", graph_overhead);
        find_peer_function(base, "ggml_new_tensor_2d", new_tensor_2d);
        find_peer_function(base, "ggml_mul_mat", mul_mat);
        find_peer_function(base, "ggml_new_graph_custom", new_graph);
        find_peer_function(base, "ggml_build_forward_expand", build_forward);
        find_peer_function(base, "ggml_backend_reg_dev_get", get_device);
        find_peer_function(base, "ggml_backend_reg_get_proc_address", get_function);
        find_peer_function(base, "ggml_backend_dev_init", init_device);
        find_peer_function(base, "ggml_backend_dev_supports_op", supports_op);
        find_peer_function(base, "ggml_backend_dev_buffer_type", get_buffer_type);
        find_peer_function(base, "ggml_backend_buft_name", buffer_type_name);
        find_peer_function(base, "ggml_backend_alloc_ctx_tensors_from_buft", allocate_tensors);
        find_peer_function(base, "ggml_backend_buft_alloc_buffer", allocate);
        find_peer_function(base, "ggml_backend_buffer_get_base", buffer_base);
        find_peer_function(base, "ggml_backend_buffer_set_usage", set_usage);
        find_peer_function(base, "ggml_backend_tensor_alloc", place_tensor);
        find_peer_function(base, "ggml_backend_buffer_free", free_buffer);
        find_peer_function(base, "ggml_backend_tensor_set", set_tensor);
        find_peer_function(base, "ggml_backend_tensor_get", get_tensor);
        find_peer_function(base, "ggml_backend_graph_compute", compute);
        find_peer_function(base, "ggml_threadpool_params_init", pool_parameters);
        find_peer_function(base, "ggml_log_set", set_log);
    }

    void find_pool_functions(void* library) {
        find_peer_function(library, "ggml_threadpool_new", new_pool);
        find_peer_function(library, "ggml_threadpool_pause", pause_pool);
        find_peer_function(library, "ggml_threadpool_free", free_pool);
        find_peer_function(library, "ggml_backend_cpu_set_threadpool", set_pool);
    }

    template <class Function>
    void find_registered(registration* r, const char* name, Function& function) const {
        function = reinterpret_cast<Function>(get_function(r, name));
    }

    void open_device(const std::filesystem::path& path) {
        // Only errors: what it loads and finds is told by the benchmark.
        set_log([](int level, const char* text, void*) {
            if (level >= 4) std::fputs(text, stderr);
        }, nullptr);
        registration* r = load(path.c_str());
        if (r == nullptr) peer_failure(path.string() + " cannot be loaded");
        cpu = get_device(r, 0);
        cpu_backend = init_device(cpu, nullptr);
        find_registered(r, "ggml_backend_set_n_threads", set_threads);
        find_registered(r, "ggml_backend_dev_get_extra_bufts", extra_buffer_types);
        if (cpu_backend == nullptr || set_threads == nullptr)
            peer_failure(path.string() + " has no CPU backend as ggml 0.9 and later have it");
        buffer_types.push_back(get_buffer_type(cpu));
        if (extra_buffer_types == nullptr) return;
        for (buffer_type** t = extra_buffer_types(cpu); t != nullptr && *t != nullptr; ++t)
            buffer_types.push_back(*t);
    }
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
        ctx = a.init({(count + 2) * (a.tensor_overhead() + a.graph_overhead(nodes, false)), nullptr,
                      true});
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
    api_ = std::make_unique<api>(folder);
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
