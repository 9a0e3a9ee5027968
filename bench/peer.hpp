// SPDX-License-Identifier: Apache-2.0
//
// The peer: ggml's shared libraries, opened at run time from the folder that the environment
// variable QDIAL_PEER_GGML names. Without the variable there is no peer, and the benchmarks say so.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

#include "peer_cpu_library.hpp"
#include "qdial/formats/list.hpp"

namespace qdial::bench {

/// `struct ggml_type_traits` of ggml.h, since ggml 0.9.
struct peer_type_traits {
    const char* name;
    std::int64_t block_length;
    std::int64_t block_length_interleaved;
    std::size_t block_bytes;
    bool is_quantized;
    void (*to_float)(const void* blocks, float* row, std::int64_t length);
    void (*from_float_ref)(const float* row, void* blocks, std::int64_t length);
};

/// `struct ggml_type_traits_cpu` of ggml-cpu.h.
struct peer_cpu_type_traits {
    void (*from_float)(const float* row, void* blocks, std::int64_t length);
    void (*vec_dot)(int length, float* result, std::size_t, const void* weights, std::size_t,
                    const void* activations, std::size_t, int rows);
    int activation_type;
    std::int64_t rows_at_once;
};

[[noreturn]] inline void peer_failure(const std::string& message) {
    std::fprintf(stderr, "QDIAL_PEER_GGML: %s\n", message.c_str());
    std::exit(1);
}

template <class Function>
void find_peer_function(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    if (function == nullptr) peer_failure(std::string("the library has no ") + name);
}

/// libggml-base.so (encode, decode) and one libggml-cpu*.so (dot products, activations).
class peer_library {
public:
    /// The peer, or null without QDIAL_PEER_GGML. Ends the program with a message if the folder
    /// holds no usable library.
    static const peer_library* get() {
        static const std::optional<peer_library> library = open_named();
        return library ? &*library : nullptr;
    }

    [[nodiscard]] const std::string& description() const { return description_; }
    [[nodiscard]] bool has_cpu_library() const { return cpu_traits_ != nullptr; }

    [[nodiscard]] const peer_type_traits& traits(std::uint32_t gguf_id) const {
        return *base_traits_(static_cast<int>(gguf_id));
    }
    /// Needs has_cpu_library().
    [[nodiscard]] const peer_cpu_type_traits& cpu_traits(std::uint32_t gguf_id) const {
        return *cpu_traits_(static_cast<int>(gguf_id));
    }

    /// Encodes rows as `quantize_rows` does; `importance` may be null.
    void quantize(std::uint32_t gguf_id, const float* x, std::size_t rows, std::size_t row_length,
                  void* blocks, const float* importance) const {
        quantize_chunk_(static_cast<int>(gguf_id), x, blocks, 0, static_cast<std::int64_t>(rows),
                        static_cast<std::int64_t>(row_length), importance);
    }

private:
    peer_library() = default;

    static std::optional<peer_library> open_named() {
        const char* folder = std::getenv("QDIAL_PEER_GGML");
        if (folder == nullptr || *folder == '\0') return std::nullopt;
        peer_library library;
        try {
            library.open_base(folder);
            library.open_cpu(folder);
        } catch (const error& e) {
            peer_failure(e.what());
        }
        return library;
    }

    void open_base(const std::filesystem::path& folder) {
        // Global, because the CPU libraries take its symbols from here.
        void* base = dlopen((folder / "libggml-base.so").c_str(), RTLD_NOW | RTLD_GLOBAL);
        if (base == nullptr) peer_failure(dlerror());
        find_peer_function(base, "ggml_get_type_traits", base_traits_);
        find_peer_function(base, "ggml_quantize_chunk", quantize_chunk_);
        const char* (*version)() = nullptr;
        const char* (*commit)() = nullptr;
        void (*quantize_init)(int type) = nullptr;
        find_peer_function(base, "ggml_version", version);
        find_peer_function(base, "ggml_commit", commit);
        find_peer_function(base, "ggml_quantize_init", quantize_init);
        description_ = std::string("ggml ") + version() + " (" + commit() + "), " +
                       (folder / "libggml-base.so").string();
        for_each_format(all_formats{}, [&](auto f) {
            using F = decltype(f);
            if constexpr (F::decodable) {
                check_layout(info_of<F>);
                quantize_init(static_cast<int>(F::gguf_id));
            }
        });
    }

    /// The traits are read by their layout, which another version may change.
    void check_layout(const format_info& format) const {
        const peer_type_traits& type = traits(format.gguf_id);
        if (!detail::equal_ignoring_case(type.name, format.name) ||
            type.block_length != static_cast<std::int64_t>(format.block_length) ||
            type.block_bytes != format.block_bytes)
            peer_failure("ggml_type_traits of " + std::string(format.name) +
                         " is not laid out as in ggml 0.9 and later");
    }

    void open_cpu(const std::filesystem::path& folder) {
        const peer_cpu_library best = find_peer_cpu_library(folder);
        if (best.handle == nullptr) {
            description_ += ", no libggml-cpu*.so for this CPU";
            return;
        }
        void (*init)() = nullptr;
        find_peer_function(best.handle, "ggml_cpu_init", init);
        find_peer_function(best.handle, "ggml_get_type_traits_cpu", cpu_traits_);
        init();
        description_ += " and " + best.path.filename().string();
    }

    std::string description_;
    const peer_type_traits* (*base_traits_)(int type) = nullptr;
    const peer_cpu_type_traits* (*cpu_traits_)(int type) = nullptr;
    std::size_t (*quantize_chunk_)(int type, const float* source, void* target, std::int64_t start,
                                   std::int64_t rows, std::int64_t row_length,
                                   const float* importance) = nullptr;
};

}  // namespace qdial::bench
