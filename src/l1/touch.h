// SPDX-License-Identifier: Apache-2.0
// Which hits are noted in the slot of the key (Partition::touch): the first ones of an item, which
// tell a policy most, and a sample of the others, so that hot items are not written to. Per worker.
#pragma once

#include <cstdint>

namespace cachee::l1 {

class TouchSampler {
  public:
    // Hits that are noted each time; of the later ones one in kEvery is.
    static constexpr uint32_t kAlways = 2;
    static constexpr uint32_t kEvery = 8;  // a power of two

    // `frequency`: of the slot, as the look-up saw it.
    bool wanted(uint32_t frequency) noexcept {
        return frequency < kAlways || ++hits_ % kEvery == 0;
    }

  private:
    uint32_t hits_ = 0;
};

}  // namespace cachee::l1
