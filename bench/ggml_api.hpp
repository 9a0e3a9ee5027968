// SPDX-License-Identifier: Apache-2.0
//
// The functions of ggml that its own graphs of multiplications take, from its shared libraries,
// opened at run time. The benchmarks and the engine's `layers` measure beside them.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "peer_cpu_library.hpp"
#include "qdial/error.hpp"

namespace qdial::bench::ggml {

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

/// The functions of ggml.h, ggml-backend.h and ggml-cpu.h that a multiplication takes.
struct api {
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
            if (library == nullptr) fail(dlerror());
            return library;
        };
        void* base = open("libggml-base.so");
        void* loader = open("libggml.so");
        find_base_functions(base);
        find(loader, "ggml_backend_load", load);
        const peer_cpu_library library = find_peer_cpu_library(folder);
        if (library.handle == nullptr) fail("no libggml-cpu*.so for this CPU");
        const char* (*version)() = nullptr;
        const char* (*commit)() = nullptr;
        find(base, "ggml_version", version);
        find(base, "ggml_commit", commit);
        description = std::string("ggml ") + version() + " (" + commit() + "), " +
                      library.path.filename().string();
        find_pool_functions(library.handle);
        open_device(library.path);
    }

private:
    [[noreturn]] static void fail(const std::string& message) {
        throw qdial::error("the peer: " + message);
    }
    template <class Function>
    static void find(void* library, const char* name, Function& function) {
        function = reinterpret_cast<Function>(dlsym(library, name));
        if (function == nullptr) fail(std::string("the library has no ") + name);
    }

    void find_base_functions(void* base) {
        find(base, "ggml_init", init);
        find(base, "ggml_free", free);
        find(base, "ggml_tensor_overhead", tensor_overhead);
        find(base, "ggml_graph_overhead_custom", graph_overhead);
        find(base, "ggml_new_tensor_2d", new_tensor_2d);
        find(base, "ggml_mul_mat", mul_mat);
        find(base, "ggml_new_graph_custom", new_graph);
        find(base, "ggml_build_forward_expand", build_forward);
        find(base, "ggml_backend_reg_dev_get", get_device);
        find(base, "ggml_backend_reg_get_proc_address", get_function);
        find(base, "ggml_backend_dev_init", init_device);
        find(base, "ggml_backend_dev_supports_op", supports_op);
        find(base, "ggml_backend_dev_buffer_type", get_buffer_type);
        find(base, "ggml_backend_buft_name", buffer_type_name);
        find(base, "ggml_backend_alloc_ctx_tensors_from_buft", allocate_tensors);
        find(base, "ggml_backend_buft_alloc_buffer", allocate);
        find(base, "ggml_backend_buffer_get_base", buffer_base);
        find(base, "ggml_backend_buffer_set_usage", set_usage);
        find(base, "ggml_backend_tensor_alloc", place_tensor);
        find(base, "ggml_backend_buffer_free", free_buffer);
        find(base, "ggml_backend_tensor_set", set_tensor);
        find(base, "ggml_backend_tensor_get", get_tensor);
        find(base, "ggml_backend_graph_compute", compute);
        find(base, "ggml_threadpool_params_init", pool_parameters);
        find(base, "ggml_log_set", set_log);
    }

    void find_pool_functions(void* library) {
        find(library, "ggml_threadpool_new", new_pool);
        find(library, "ggml_threadpool_pause", pause_pool);
        find(library, "ggml_threadpool_free", free_pool);
        find(library, "ggml_backend_cpu_set_threadpool", set_pool);
    }

    template <class Function>
    void find_registered(registration* r, const char* name, Function& function) const {
        function = reinterpret_cast<Function>(get_function(r, name));
    }

    void open_device(const std::filesystem::path& path) {
        // Only errors: what it loads and finds is told by the benchmark.
        set_log(
            [](int level, const char* text, void*) {
                if (level >= 4) std::fputs(text, stderr);
            },
            nullptr);
        registration* r = load(path.c_str());
        if (r == nullptr) fail(path.string() + " cannot be loaded");
        cpu = get_device(r, 0);
        cpu_backend = init_device(cpu, nullptr);
        find_registered(r, "ggml_backend_set_n_threads", set_threads);
        find_registered(r, "ggml_backend_dev_get_extra_bufts", extra_buffer_types);
        if (cpu_backend == nullptr || set_threads == nullptr)
            fail(path.string() + " has no CPU backend as ggml 0.9 and later have it");
        buffer_types.push_back(get_buffer_type(cpu));
        if (extra_buffer_types == nullptr) return;
        for (buffer_type** t = extra_buffer_types(cpu); t != nullptr && *t != nullptr; ++t)
            buffer_types.push_back(*t);
    }
};

}  // namespace qdial::bench::ggml
