// SPDX-License-Identifier: Apache-2.0
#include "tools/simulate/reference.h"

#include <algorithm>
#include <queue>

namespace cachee::simulate {

namespace {

constexpr uint32_t kNone = UINT32_MAX;

// Links of all objects; an object is in at most one list of them at a time.
struct Links {
    explicit Links(uint32_t objects) : before(objects, kNone), after(objects, kNone) {}
    std::vector<uint32_t> before;  // towards the head
    std::vector<uint32_t> after;   // towards the tail
};

// New objects at the head, victims from the tail.
class List {
  public:
    explicit List(Links* links) : links_(links) {}

    uint32_t tail() const { return tail_; }
    uint32_t towards_head(uint32_t object) const { return links_->before[object]; }
    uint64_t bytes() const { return bytes_; }

    void push(uint32_t object, uint32_t bytes) {
        links_->before[object] = kNone;
        links_->after[object] = head_;
        (head_ == kNone ? tail_ : links_->before[head_]) = object;
        head_ = object;
        bytes_ += bytes;
    }
    void remove(uint32_t object, uint32_t bytes) {
        const uint32_t before = links_->before[object];
        const uint32_t after = links_->after[object];
        (before == kNone ? head_ : links_->after[before]) = after;
        (after == kNone ? tail_ : links_->before[after]) = before;
        bytes_ -= bytes;
    }

  private:
    Links* links_;
    uint32_t head_ = kNone;
    uint32_t tail_ = kNone;
    uint64_t bytes_ = 0;
};

// What LRU, FIFO and SIEVE share: one list.
class OneList : public Reference {
  public:
    OneList(uint64_t capacity, uint32_t objects)
        : capacity_(capacity),
          links_(objects),
          list_(&links_),
          bytes_(objects, 0),
          present_(objects, 0) {}

    bool access(uint32_t object, uint32_t bytes, uint32_t) override {
        if (present_[object] != 0) {
            hit(object);
            return true;
        }
        if (bytes > capacity_) return false;
        while (list_.bytes() + bytes > capacity_) erase(victim());
        list_.push(object, bytes);
        bytes_[object] = bytes;
        present_[object] = 1;
        return false;
    }
    void erase(uint32_t object) override {
        if (present_[object] == 0) return;
        leaving(object);
        list_.remove(object, bytes_[object]);
        present_[object] = 0;
    }
    bool contains(uint32_t object) const override { return present_[object] != 0; }
    uint64_t used_bytes() const override { return list_.bytes(); }

  protected:
    virtual void hit(uint32_t object) = 0;
    virtual uint32_t victim() { return list_.tail(); }
    virtual void leaving(uint32_t) {}

    List& list() { return list_; }
    void to_head(uint32_t object) {
        list_.remove(object, bytes_[object]);
        list_.push(object, bytes_[object]);
    }

  private:
    uint64_t capacity_;
    Links links_;
    List list_;
    std::vector<uint32_t> bytes_;
    std::vector<uint8_t> present_;
};

class Fifo final : public OneList {
  public:
    using OneList::OneList;
    void hit(uint32_t) override {}
};

class Lru final : public OneList {
  public:
    using OneList::OneList;
    void hit(uint32_t object) override { to_head(object); }
};

// SIEVE (Zhang et al., NSDI 2024).
class Sieve final : public OneList {
  public:
    Sieve(uint64_t capacity, uint32_t objects) : OneList(capacity, objects), visited_(objects, 0) {}

  protected:
    void hit(uint32_t object) override { visited_[object] = 1; }
    uint32_t victim() override {
        if (hand_ == kNone) hand_ = list().tail();
        while (visited_[hand_] != 0) {
            visited_[hand_] = 0;
            hand_ = list().towards_head(hand_);
            if (hand_ == kNone) hand_ = list().tail();
        }
        return hand_;
    }
    void leaving(uint32_t object) override {
        if (hand_ == object) hand_ = list().towards_head(object);
        visited_[object] = 0;
    }

  private:
    std::vector<uint8_t> visited_;
    uint32_t hand_ = kNone;
};

// S3-FIFO (Yang et al., SOSP 2023): a small queue of a tenth, main, and a ghost as large as main;
// two hits in the small queue lead to main, up to three more rounds in main.
class S3Fifo final : public Reference {
  public:
    S3Fifo(uint64_t capacity, uint32_t objects)
        : capacity_(capacity),
          small_max_(capacity / 10),
          main_max_(capacity - capacity / 10),
          ghost_max_(capacity * 9 / 10),
          links_(objects),
          small_(&links_),
          main_(&links_),
          ghost_(&links_),
          objects_(objects) {}

    bool access(uint32_t object, uint32_t bytes, uint32_t) override {
        Object& o = objects_[object];
        if (o.place == Place::kSmall || o.place == Place::kMain) {
            if (o.frequency < 255) ++o.frequency;
            return true;
        }
        const bool remembered = o.place == Place::kGhost;
        if (remembered) take_out(object);
        if (bytes > capacity_) return false;
        while (used_bytes() + bytes > capacity_) evict();
        // What is no smaller than the small queue may not enter it.
        if (!remembered && bytes >= std::max<uint64_t>(small_max_, 1) && small_max_ > 0) {
            return false;
        }
        const bool to_main = remembered || (!evicted_ && small_.bytes() >= small_max_);
        put(object, to_main ? Place::kMain : Place::kSmall, bytes);
        return false;
    }
    void erase(uint32_t object) override { take_out(object); }
    bool contains(uint32_t object) const override {
        const Place place = objects_[object].place;
        return place == Place::kSmall || place == Place::kMain;
    }
    uint64_t used_bytes() const override { return small_.bytes() + main_.bytes(); }

  private:
    enum class Place : uint8_t { kNowhere, kSmall, kMain, kGhost };
    struct Object {
        uint32_t bytes = 0;
        Place place = Place::kNowhere;
        uint8_t frequency = 0;
    };
    static constexpr uint8_t kToMain = 2;

    List& list_of(Place place) {
        return place == Place::kSmall ? small_ : place == Place::kMain ? main_ : ghost_;
    }
    void put(uint32_t object, Place place, uint32_t bytes, uint8_t frequency = 0) {
        objects_[object] = {bytes, place, frequency};
        list_of(place).push(object, bytes);
    }
    void take_out(uint32_t object) {
        Object& o = objects_[object];
        if (o.place == Place::kNowhere) return;
        list_of(o.place).remove(object, o.bytes);
        o.place = Place::kNowhere;
    }
    void evict() {
        evicted_ = true;
        const bool from_main = main_.bytes() > main_max_ || small_.bytes() == 0;
        if (from_main) {
            evict_main();
        } else {
            evict_small();
        }
    }
    void evict_small() {
        while (small_.bytes() > 0) {
            const uint32_t object = small_.tail();
            const Object o = objects_[object];
            take_out(object);
            if (o.frequency >= kToMain) {
                put(object, Place::kMain, o.bytes);
                continue;
            }
            if (o.bytes <= ghost_max_) {
                while (ghost_.bytes() + o.bytes > ghost_max_) take_out(ghost_.tail());
                put(object, Place::kGhost, o.bytes);
            }
            return;
        }
    }
    void evict_main() {
        while (main_.bytes() > 0) {
            const uint32_t object = main_.tail();
            const Object o = objects_[object];
            take_out(object);
            if (o.frequency == 0) return;
            put(object, Place::kMain, o.bytes,
                static_cast<uint8_t>(std::min<uint8_t>(o.frequency, 3) - 1));
        }
    }

    uint64_t capacity_;
    uint64_t small_max_;
    uint64_t main_max_;
    uint64_t ghost_max_;
    Links links_;
    List small_;
    List main_;
    List ghost_;
    std::vector<Object> objects_;
    bool evicted_ = false;
};

// Belady's MIN: the victim is what is asked for last; what is never asked for again is not kept.
class Belady final : public Reference {
  public:
    Belady(uint64_t capacity, uint32_t objects, const std::vector<uint32_t>* next)
        : capacity_(capacity),
          next_(next),
          until_(objects, kNone),
          bytes_(objects, 0),
          present_(objects, 0) {}

    bool access(uint32_t object, uint32_t bytes, uint32_t position) override {
        const uint32_t next = (*next_)[position];
        const bool hit = present_[object] != 0;
        if (next == TraceTable::kNever) {
            erase(object);
            return hit;
        }
        if (!hit) {
            if (bytes > capacity_) return false;
            while (used_ + bytes > capacity_) evict();
            present_[object] = 1;
            bytes_[object] = bytes;
            used_ += bytes;
        }
        until_[object] = next;
        heap_.push({next, object});
        return hit;
    }
    void erase(uint32_t object) override {
        if (present_[object] == 0) return;
        present_[object] = 0;
        used_ -= bytes_[object];
    }
    bool contains(uint32_t object) const override { return present_[object] != 0; }
    uint64_t used_bytes() const override { return used_; }

  private:
    void evict() {
        // Entries of earlier accesses are passed over.
        while (present_[heap_.top().second] == 0 ||
               until_[heap_.top().second] != heap_.top().first) {
            heap_.pop();
        }
        erase(heap_.top().second);
        heap_.pop();
    }

    uint64_t capacity_;
    uint64_t used_ = 0;
    const std::vector<uint32_t>* next_;
    std::vector<uint32_t> until_;
    std::vector<uint32_t> bytes_;
    std::vector<uint8_t> present_;
    std::priority_queue<std::pair<uint32_t, uint32_t>> heap_;
};

}  // namespace

std::unique_ptr<Reference> make_reference(std::string_view name, uint64_t capacity,
                                          uint32_t objects, const std::vector<uint32_t>* next) {
    if (name == "lru") return std::make_unique<Lru>(capacity, objects);
    if (name == "fifo") return std::make_unique<Fifo>(capacity, objects);
    if (name == "sieve") return std::make_unique<Sieve>(capacity, objects);
    if (name == "s3fifo") return std::make_unique<S3Fifo>(capacity, objects);
    if (name == "belady") return std::make_unique<Belady>(capacity, objects, next);
    return nullptr;
}

}  // namespace cachee::simulate
