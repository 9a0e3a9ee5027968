#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include "session.hpp"
using namespace engine;
// scratch program
int main(int argc, char** argv) {
    thread_pool pool(2);
    model m(argv[1], pool, [](auto a, auto b) { std::fprintf(stderr, "\r%.0f%%", 100.0 * a / b); });
    std::fprintf(stderr, "\n");
    std::vector<token> t;
    for (int i = 3; i < argc; ++i) t.push_back(std::atoi(argv[i]));
    session s(m, pool, {512, argv[2][0]=='q' ? kv_format::q8_0 : std::strcmp(argv[2], "f32") ? kv_format::f16 : kv_format::f32, 512});
    std::vector<std::size_t> want(t.size());
    for (std::size_t i = 0; i < t.size(); ++i) want[i] = i;
    s.run(t, want);
    std::vector<float> l(t.size() * m.vocabulary());
    s.logits(0, t.size(), l);
    std::ofstream("/tmp/eng_logits.bin", std::ios::binary).write((char*)l.data(), l.size() * 4);
    std::fprintf(stderr, "total %.3f packed %.3f att %.3f\n", s.spent().total, s.spent().packed, s.spent().attention);
}
