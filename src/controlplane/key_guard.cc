// SPDX-License-Identifier: Apache-2.0
#include "controlplane/key_guard.h"

#include "base/assert.h"
#include "base/hash.h"

namespace cachee::controlplane {

KeyGuard::~KeyGuard() {
    for (const auto& [key, record] : records_) delete record;
}

KeyGuard::Record* KeyGuard::find(std::string_view key) {
    const auto found = records_.find(key);
    return found == records_.end() ? nullptr : found->second;
}

KeyGuard::Record* KeyGuard::acquire(std::string_view key, uint64_t hash) {
    Record* record = find(key);
    if (record == nullptr) {
        record = new Record;
        record->key = key;
        record->hash = hash;
        records_.emplace(record->key, record);
    }
    ++record->users;
    return record;
}

void KeyGuard::release(Record* record) {
    CACHEE_ASSERT(record->users > 0);
    if (--record->users > 0) return;
    CACHEE_ASSERT(record->writes == 0);
    records_.erase(record->key);
    delete record;
}

void KeyGuard::rehash(uint64_t seed) {
    for (const auto& [key, record] : records_) record->hash = base::hash_key(key, seed);
}

}  // namespace cachee::controlplane
