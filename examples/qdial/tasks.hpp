// SPDX-License-Identifier: Apache-2.0
//
// A user's own work as cases that can be marked: a JSON-lines file, one case a line.
//
//     {"prompt": "2 + 2 =", "answer": "4"}
//     {"prompt": "Today is", "regex": "^(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\\b"}
//     {"prompt": "A person as JSON:", "schema": {"type": "object", "required": ["name"]}}
//     {"prompt": "The capital of France is", "choices": [" Paris", " Rome"], "correct": 0}
//
// The first three are answered greedily, up to "max_tokens" tokens (64), the end of the turn, or
// the first of the texts in "stop"; blanks around the answer do not count. "answer" must be
// equal; "regex" (Perl's syntax, UTF-8) must match somewhere; by "schema" (JSON Schema, draft 7)
// the whole answer must be valid JSON. Of "choices" the one with the highest likelihood counts.
// The prompt goes to the model as it stands, begin of text added where the model wants it; control
// tokens of a chat template may be written in it. "name" is for reports.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tool {

/// What an answer must be like.
class answer_check {
public:
    virtual ~answer_check() = default;
    [[nodiscard]] virtual bool passes(std::string_view answer) const = 0;
};

struct task {
    std::size_t line;  ///< of the file, from 1
    std::string name, prompt;
    std::shared_ptr<const answer_check> check;  ///< null for choices
    std::vector<std::string> stop;
    std::size_t max_tokens = 64;
    std::vector<std::string> choices;
    std::size_t correct = 0;  ///< index of the right choice
};

/// Reads a file of cases; empty lines are skipped. Throws `qdial::error` that names the file, the
/// line and what was found and expected.
[[nodiscard]] std::vector<task> read_tasks(const std::filesystem::path& path);

/// The cases in `text`; `name` stands for the file in errors.
[[nodiscard]] std::vector<task> parse_tasks(std::string_view text, const std::string& name);

/// Generated text as it is marked: cut before the first of `stop`, without blanks around it.
[[nodiscard]] std::string_view trimmed_answer(std::string_view generated,
                                              const std::vector<std::string>& stop);

}  // namespace tool
