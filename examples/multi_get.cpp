// SPDX-License-Identifier: Apache-2.0
// Reads many keys at once through the C++ header, and counts where they came from.
//   multi_get INSTANCE KEY...
// Build: c++ -std=c++20 multi_get.cpp $(pkg-config --cflags --libs cachee)
#include <cachee/cachee.hpp>
#include <cstdio>
#include <exception>
#include <string_view>
#include <vector>

int main(int argc, char** argv) try {
    if (argc < 3) {
        std::fprintf(stderr, "usage: %s INSTANCE KEY...\n", argv[0]);
        return 2;
    }
    cachee::Client client(argv[1]);
    const std::vector<std::string_view> keys(argv + 2, argv + argc);
    const std::vector<cachee::Found> found = client.multi_get(keys);
    int from_l1 = 0;
    int from_appliance = 0;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        if (!found[i]) continue;
        (found[i].source() == cachee::Source::kL1 ? from_l1 : from_appliance) += 1;
        std::printf("%s = %s\n", argv[2 + i], found[i].str().c_str());
    }
    std::printf("%d from L1, %d from the appliance, %zu keys\n", from_l1, from_appliance,
                keys.size());
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
