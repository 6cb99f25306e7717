// SPDX-License-Identifier: Apache-2.0
// Lets a transport send values from L1 itself: a hold of the transport is a pin of L1. Any worker's
// thread; the store outlives it.
#pragma once

#include "io/transport.h"
#include "l1/store.h"

namespace cachee::dataplane {

class L1Lender final : public io::Lender {
  public:
    explicit L1Lender(l1::Store& store) : store_(store) {}
    void hold(const uint8_t* data) noexcept override { store_.pin_again(data); }
    void give_back(const uint8_t* data) noexcept override { store_.unpin(data); }

  private:
    l1::Store& store_;
};

}  // namespace cachee::dataplane
