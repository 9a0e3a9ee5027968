// SPDX-License-Identifier: Apache-2.0
#include "tasks.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "qdial/error.hpp"
#include "qdial/gguf/text.hpp"

namespace tool {
namespace {

using nlohmann::json;

constexpr std::string_view blanks = " \t\r\n\v\f";

std::string_view trimmed(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(blanks);
    if (begin == text.npos) return {};
    return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

class exact_check final : public answer_check {
public:
    explicit exact_check(std::string_view expected) : expected_(trimmed(expected)) {}
    [[nodiscard]] bool passes(std::string_view answer) const override {
        return answer == expected_;
    }

private:
    std::string expected_;
};

class regex_check final : public answer_check {
public:
    explicit regex_check(const std::string& pattern) {
        int code = 0;
        PCRE2_SIZE at = 0;
        code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                  PCRE2_UTF | PCRE2_UCP, &code, &at, nullptr));
        if (code_) return;
        std::array<PCRE2_UCHAR, 256> message{};
        pcre2_get_error_message(code, message.data(), message.size());
        throw qdial::error(
            fmt::format("found a \"regex\" that is none: {} at offset {}",
                        reinterpret_cast<const char*>(message.data()), at));
    }
    [[nodiscard]] bool passes(std::string_view answer) const override {
        const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> match(
            pcre2_match_data_create_from_pattern(code_.get(), nullptr), pcre2_match_data_free);
        // Text that is no UTF-8 and matches that take too long are no matches.
        return match && pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(answer.data()),
                                    answer.size(), 0, 0, match.get(), nullptr) >= 0;
    }

private:
    struct free_code {
        void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    };
    std::unique_ptr<pcre2_code, free_code> code_;
};

class schema_check final : public answer_check {
public:
    explicit schema_check(const json& schema) {
        try {
            valijson::SchemaParser().populateSchema(
                valijson::adapters::NlohmannJsonAdapter(schema), schema_);
        } catch (const std::exception& problem) {
            throw qdial::error(std::string("found a \"schema\" that is none: ") + problem.what());
        }
    }
    [[nodiscard]] bool passes(std::string_view answer) const override {
        const json document = json::parse(answer, nullptr, false);
        if (document.is_discarded()) return false;
        valijson::Validator validator;
        return validator.validate(schema_, valijson::adapters::NlohmannJsonAdapter(document),
                                  nullptr);
    }

private:
    valijson::Schema schema_;
};

/// One line's object.
class task_reader {
public:
    explicit task_reader(const json& object) : object_(object) {}

    [[nodiscard]] task read(std::size_t line) const {
        task t;
        t.line = line;
        check_keys();
        t.prompt = text("prompt").value_or("");
        if (t.prompt.empty()) fail("found no \"prompt\", expected text");
        t.name = text("name").value_or(fmt::format("line {}", line));
        std::size_t kinds = 0;
        for (const char* kind : {"answer", "regex", "schema", "choices"})
            kinds += object_.contains(kind) ? 1 : 0;
        if (kinds != 1)
            fail(fmt::format("found {} of \"answer\", \"regex\", \"schema\" and \"choices\", "
                             "expected one",
                             kinds));
        if (object_.contains("choices"))
            read_choices(t);
        else
            read_check(t);
        return t;
    }

private:
    [[noreturn]] static void fail(const std::string& what) { throw qdial::error(what); }

    void check_keys() const {
        constexpr std::array known{"prompt", "name",    "answer",     "regex",  "schema",
                                   "choices", "correct", "max_tokens", "stop"};
        if (!object_.is_object()) fail("expected an object");
        for (const auto& [key, value] : object_.items())
            if (std::ranges::find(known, key) == known.end())
                fail("found the unknown key " + qdial::gguf::detail::quoted(key));
    }

    [[nodiscard]] std::optional<std::string> text(const char* key) const {
        const auto found = object_.find(key);
        if (found == object_.end()) return std::nullopt;
        if (!found->is_string()) fail(fmt::format("\"{}\": expected text", key));
        return found->get<std::string>();
    }

    [[nodiscard]] std::optional<std::size_t> number(const char* key) const {
        const auto found = object_.find(key);
        if (found == object_.end()) return std::nullopt;
        if (!found->is_number_unsigned()) fail(fmt::format("\"{}\": expected a whole number", key));
        return found->get<std::size_t>();
    }

    [[nodiscard]] std::vector<std::string> texts(const char* key) const {
        const json& list = object_.at(key);
        std::vector<std::string> out;
        const auto is_text = [](const json& item) {
            return item.is_string() && !item.get_ref<const std::string&>().empty();
        };
        if (!list.is_array() || !std::ranges::all_of(list, is_text))
            fail(fmt::format("\"{}\": expected a list of texts", key));
        for (const json& item : list) out.push_back(item.get<std::string>());
        return out;
    }

    void refuse(const char* key, const char* why) const {
        if (object_.contains(key)) fail(fmt::format("found \"{}\" {}", key, why));
    }

    void read_choices(task& t) const {
        refuse("stop", "beside \"choices\"");
        refuse("max_tokens", "beside \"choices\"");
        t.choices = texts("choices");
        if (t.choices.size() < 2) fail("\"choices\": expected at least two");
        const std::optional<std::size_t> correct = number("correct");
        if (!correct || *correct >= t.choices.size())
            fail(fmt::format("\"correct\": expected the right choice, 0 to {}",
                             t.choices.size() - 1));
        t.correct = *correct;
    }

    void read_check(task& t) const {
        refuse("correct", "without \"choices\"");
        if (object_.contains("stop")) t.stop = texts("stop");
        t.max_tokens = number("max_tokens").value_or(t.max_tokens);
        if (t.max_tokens == 0) fail("\"max_tokens\": expected 1 or more");
        if (const auto expected = text("answer"))
            t.check = std::make_shared<exact_check>(*expected);
        else if (const auto pattern = text("regex"))
            t.check = std::make_shared<regex_check>(*pattern);
        else
            t.check = std::make_shared<schema_check>(object_.at("schema"));
    }

    const json& object_;
};

}  // namespace

std::vector<task> parse_tasks(std::string_view text, const std::string& name) {
    std::vector<task> tasks;
    std::size_t line = 0;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        const std::string_view content = trimmed(text.substr(begin, end - begin));
        ++line;
        begin = end + 1;
        if (content.empty()) continue;
        const auto place = [&] { return fmt::format("{}: line {}: ", name, line); };
        const json object = json::parse(content, nullptr, false);
        if (object.is_discarded()) throw qdial::error(place() + "found no valid JSON");
        try {
            tasks.push_back(task_reader(object).read(line));
        } catch (const qdial::error& problem) {
            throw qdial::error(place() + problem.what());
        }
    }
    if (tasks.empty()) throw qdial::error(name + ": found no cases, expected one a line");
    return tasks;
}

std::vector<task> read_tasks(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    if (!in.is_open() || in.bad()) throw qdial::error(path.string() + ": cannot read");
    return parse_tasks(text, path.string());
}

std::string_view trimmed_answer(std::string_view generated, const std::vector<std::string>& stop) {
    for (const std::string& end : stop) generated = generated.substr(0, generated.find(end));
    return trimmed(generated);
}

}  // namespace tool
