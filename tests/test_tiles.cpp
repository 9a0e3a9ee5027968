// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"
#include "qdial/model/tiles.hpp"

namespace model = qdial::model;

namespace {

model::tensor_shape shape(std::uint64_t row, std::uint64_t rows, std::uint64_t matrices = 1) {
    return {"x", {row, rows, matrices, 1}, 0};
}

/// Every tile starts where the one before ended; returns how many there are.
std::size_t check_cover(const model::tensor_shape& tensor, bool whole_rows) {
    model::tile_cutter cutter(tensor, whole_rows);
    std::uint64_t next = 0;
    std::size_t count = 0;
    while (const auto part = cutter.next()) {
        CHECK(part->first == next);
        CHECK(part->column == next % tensor.dims[0]);
        CHECK(part->matrix == next / (tensor.dims[0] * tensor.dims[1]));
        CHECK(part->rows >= 1);
        const std::uint64_t last = next + part->elements() - 1;
        CHECK(last / (tensor.dims[0] * tensor.dims[1]) == part->matrix);
        if (part->row_length != tensor.dims[0]) {
            CHECK(part->rows == 1);
            CHECK(part->row_length % 256 == tensor.dims[0] % 256 * (last + 1 == tensor.dims[0]));
        }
        if (!whole_rows) CHECK(part->elements() <= model::tile_elements);
        next += part->elements();
        ++count;
    }
    CHECK(next == tensor.elements());
    return count;
}

}  // namespace

TEST_CASE("Tiles cover a tensor once, in order") {
    CHECK(check_cover(shape(256, 1), false) == 1);
    CHECK(check_cover(shape(640, 1000), false) == 10);  // 102 rows each
    CHECK(check_cover(shape(256, 3, 5), false) == 5);   // never across matrices
    CHECK(check_cover(shape(model::tile_elements, 4), false) == 4);
    CHECK(check_cover(shape(1, 200000), false) == 4);
}

TEST_CASE("Long rows are cut unless they must stay whole") {
    const auto tensor = shape(2 * model::tile_elements + 256, 3);
    CHECK(check_cover(tensor, false) == 9);
    CHECK(check_cover(tensor, true) == 3);
}

TEST_CASE("Tensors that hold nothing have no tiles") {
    CHECK(check_cover(shape(0, 5), false) == 0);
    CHECK(check_cover(shape(32, 0), false) == 0);
}

TEST_CASE("The bytes of a tile are those of its blocks") {
    const auto tensor = shape(512, 300);
    const auto format = qdial::format_info{"Q4_0", 2, 32, 18, true, true, false};
    const std::vector<std::byte> data(512 * 300 / 32 * 18);
    model::tile_cutter cutter(tensor);
    std::size_t next = 0;
    while (const auto part = cutter.next()) {
        const auto bytes = model::bytes_of(*part, format, data);
        CHECK(bytes.data() == data.data() + next);
        next += bytes.size();
    }
    CHECK(next == data.size());
}

TEST_CASE("Borrowed floats are used again") {
    model::float_pool pool;
    const float* first = nullptr;
    {
        const model::float_pool::loan a(pool, 100);
        first = a.floats().data();
        const model::float_pool::loan b(pool, 100);
        CHECK(b.floats().data() != first);
        CHECK(a.floats().size() == 100);
    }
    const model::float_pool::loan a(pool, 50), b(pool, 100);
    CHECK((a.floats().data() == first || b.floats().data() == first));
    CHECK(a.floats().size() == 50);
}
