// SPDX-License-Identifier: Apache-2.0
#include "model.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "qdial/error.hpp"
#include "qdial/model/codec.hpp"
#include "weights.hpp"

namespace engine {

namespace {

using qdial::gguf::tensor;

/// Finds tensors by name, checks their shapes, and remembers which were used.
class tensor_source {
public:
    explicit tensor_source(const qdial::gguf::file& file) : file_(file) {}

    const tensor* find(const std::string& name, const std::vector<std::uint64_t>& shape) {
        const tensor* found = file_.find_tensor(name);
        if (found == nullptr) return nullptr;
        qdial::gguf::tensor_shape expected;
        for (std::size_t i = 0; i < shape.size(); ++i) expected.extent[i] = shape[i];
        expected.n_dims = static_cast<std::uint32_t>(shape.size());
        if (!(found->shape == expected))
            fail(name, "found the shape " + to_string(found->shape) + ", expected " +
                           to_string(expected));
        used_.insert(found->name);
        return found;
    }

    const tensor& get(const std::string& name, const std::vector<std::uint64_t>& shape) {
        const tensor* found = find(name, shape);
        if (found == nullptr) fail(name, "not found, and the model needs it");
        return *found;
    }

    /// A vector as floats, empty if there is none.
    std::vector<float> find_floats(const std::string& name, std::size_t n) {
        const tensor* found = find(name, {n});
        if (found == nullptr) return {};
        if (!found->format.decodable) fail(name, "its type cannot be decoded");
        std::vector<float> out(n);
        qdial::model::decode(found->format.gguf_id, found->data, out);
        return out;
    }

    std::vector<float> get_floats(const std::string& name, std::size_t n) {
        get(name, {n});
        return find_floats(name, n);
    }

    /// A tensor that the engine does not know would be a part of the model that it leaves out.
    void check_all_used() const {
        for (const tensor& t : file_.tensors())
            if (!used_.contains(t.name))
                fail(std::string(t.name), "found a tensor that the engine does not compute with");
    }

private:
    [[noreturn]] void fail(const std::string& name, const std::string& what) const {
        throw qdial::error(file_.name() + ": tensor " + qdial::gguf::detail::quoted(name) + ": " +
                           what);
    }

    const qdial::gguf::file& file_;
    std::set<std::string_view> used_;
};

/// A linear layer that is to be packed.
struct planned {
    linear* into;
    const tensor* from;
    std::vector<float> bias;
};

/// Reads small tensors and lists the large ones, so that packing knows its total.
class loader {
public:
    loader(const qdial::gguf::file& file, const hyper_parameters& p, weights& out)
        : source_(file), p_(p), out_(out) {}

    std::vector<planned> plan() {
        out_.embeddings = &source_.get("token_embd.weight", {p_.embedding, p_.vocabulary});
        if (!out_.embeddings->format.decodable)
            throw qdial::error("tensor token_embd.weight: its type " +
                               std::string(out_.embeddings->format.name) + " cannot be decoded");
        out_.rope_factors = source_.find_floats("rope_freqs.weight", p_.rope_length / 2);
        out_.output_norm = source_.get_floats("output_norm.weight", p_.embedding);
        out_.layers.resize(p_.layers);
        for (std::size_t i = 0; i < p_.layers; ++i) plan_layer(i);
        const tensor* output = source_.find("output.weight", {p_.embedding, p_.vocabulary});
        plan_.push_back({&out_.output, output != nullptr ? output : out_.embeddings,
                         source_.find_floats("output.bias", p_.vocabulary)});
        source_.check_all_used();
        return std::move(plan_);
    }

private:
    void plan_linear(linear& into, const std::string& name, std::size_t row_length,
                     std::size_t rows) {
        const tensor& from = source_.get(name + ".weight", {row_length, rows});
        plan_.push_back({&into, &from, source_.find_floats(name + ".bias", rows)});
    }

    void plan_layer(std::size_t i) {
        layer_weights& layer = out_.layers[i];
        const std::string at = "blk." + std::to_string(i) + ".";
        const std::size_t keys = p_.kv_heads * p_.key_length;
        const std::size_t values = p_.kv_heads * p_.value_length;
        layer.attention_norm = source_.get_floats(at + "attn_norm.weight", p_.embedding);
        plan_linear(layer.query, at + "attn_q", p_.embedding, p_.heads * p_.key_length);
        plan_linear(layer.key, at + "attn_k", p_.embedding, keys);
        plan_linear(layer.value, at + "attn_v", p_.embedding, values);
        plan_linear(layer.output, at + "attn_output", p_.heads * p_.value_length, p_.embedding);
        if (p_.qk_norms) {
            layer.query_norm = source_.get_floats(at + "attn_q_norm.weight", p_.key_length);
            layer.key_norm = source_.get_floats(at + "attn_k_norm.weight", p_.key_length);
        }
        layer.feed_forward_norm = source_.get_floats(at + "ffn_norm.weight", p_.embedding);
        plan_linear(layer.gate, at + "ffn_gate", p_.embedding, p_.feed_forward);
        plan_linear(layer.up, at + "ffn_up", p_.embedding, p_.feed_forward);
        plan_linear(layer.down, at + "ffn_down", p_.feed_forward, p_.embedding);
        if (p_.post_norms) {
            layer.post_attention_norm =
                source_.get_floats(at + "post_attention_norm.weight", p_.embedding);
            layer.post_feed_forward_norm =
                source_.get_floats(at + "post_ffw_norm.weight", p_.embedding);
        }
    }

    tensor_source source_;
    const hyper_parameters& p_;
    weights& out_;
    std::vector<planned> plan_;
};

}  // namespace

struct model::impl {
    explicit impl(const std::filesystem::path& path) : file(path) {}

    qdial::gguf::file file;
    hyper_parameters parameters;
    engine::weights weights;
    std::map<std::uint32_t, std::uint64_t> bytes_by_format;  // of the linear layers
};

model::model(const std::filesystem::path& path, thread_pool& threads, const load_progress& progress)
    : impl_(std::make_unique<impl>(path)) {
    const qdial::gguf::file& file = impl_->file;
    impl_->parameters = read_hyper_parameters(file);
    std::vector<planned> plan = loader(file, impl_->parameters, impl_->weights).plan();
    std::uint64_t total = 0, done = 0;
    for (const planned& p : plan) total += p.from->data.size();
    for (planned& p : plan) {
        *p.into = linear(*p.from, std::move(p.bias), threads);
        impl_->bytes_by_format[p.into->format()] += p.into->packed_bytes();
        // Packed, they are not read again; rows of the embeddings are.
        if (p.from != impl_->weights.embeddings) file.drop(p.from->data);
        done += p.from->data.size();
        if (progress) progress(done, total);
    }
}

model::~model() = default;
model::model(model&&) noexcept = default;
model& model::operator=(model&&) noexcept = default;

const qdial::gguf::file& model::file() const noexcept { return impl_->file; }
const hyper_parameters& model::parameters() const noexcept { return impl_->parameters; }
const std::string& model::architecture() const noexcept {
    return impl_->parameters.architecture;
}
std::size_t model::vocabulary() const noexcept { return impl_->parameters.vocabulary; }
const engine::weights& model::weights() const noexcept { return impl_->weights; }

std::uint64_t model::packed_bytes() const noexcept {
    std::uint64_t sum = 0;
    for (const auto& [format, bytes] : impl_->bytes_by_format) sum += bytes;
    return sum;
}

std::vector<std::string> model::weight_types() const {
    std::vector<std::pair<std::uint64_t, std::string>> types;
    for (const auto& [format, bytes] : impl_->bytes_by_format)
        types.emplace_back(bytes, qdial::find_format(format).value().name);
    std::ranges::sort(types, std::greater{});
    std::vector<std::string> names;
    for (auto& [bytes, name] : types) names.push_back(std::move(name));
    return names;
}

bool model::is_quantized() const noexcept {
    return std::ranges::any_of(impl_->bytes_by_format, [](const auto& entry) {
        return !qdial::find_format(entry.first).value().is_float;
    });
}

}  // namespace engine
