// SPDX-License-Identifier: Apache-2.0
#include "bin/readers.h"

#include <grp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/hash.h"
#include "l1/partition.h"
#include "l1/signpost.h"

namespace cachee::bin {

namespace {

constexpr mode_t kReadable = 0640;
constexpr mode_t kWritable = 0660;

base::Status give(const std::string& path, const FileOwner& owner) {
    if (::chown(path.c_str(), owner.user, owner.group) == 0) return {};
    return base::Error{"cannot give " + path + " to the group of l1.readers_group: " +
                       std::strerror(errno) + " (start as root, or as a member of the group)"};
}

}  // namespace

base::Result<gid_t> readers_group(const config::Config& config) {
    if (config.l1.readers_group.empty()) return static_cast<gid_t>(-1);
    const group* entry = ::getgrnam(config.l1.readers_group.c_str());
    if (entry == nullptr) {
        return base::Error{"l1.readers_group: there is no group \"" + config.l1.readers_group +
                           "\" on this host; create it (groupadd --system " +
                           config.l1.readers_group + ") or leave the key empty"};
    }
    return entry->gr_gid;
}

base::Result<std::unique_ptr<Readers>> Readers::open(const config::Config& config, l1::Store& store,
                                                     const std::string& listen,
                                                     const FileOwner& owner) {
    const std::string& instance = config.instance.name;
    const std::string hints_path = "/dev/shm/cachee-" + instance + "-hints";
    std::unique_ptr<Readers> readers(new Readers(store, l1::signpost_path(instance)));
    auto hints = l1::HintTaker::create(hints_path, kWritable);
    if (!hints) return hints.error();
    readers->hints_ = std::move(hints).value();
    if (base::Status status = give(hints_path, owner); !status) return status.error();
    if (base::Status status = give(store.path(), owner); !status) return status.error();
    const l1::Signpost signpost{store.path(), hints_path, listen};
    if (base::Status status = l1::write_signpost(instance, signpost, kReadable); !status) {
        return status.error();
    }
    if (base::Status status = give(l1::signpost_path(instance), owner); !status) {
        return status.error();
    }
    return readers;
}

Readers::~Readers() { ::unlink(signpost_path_.c_str()); }

void Readers::take_hints() {
    hints_->take_all([this](uint64_t hash) {
        store_.partition(base::owner_of(hash, store_.partitions())).take_hint(hash);
    });
}

}  // namespace cachee::bin
