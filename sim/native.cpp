// One simulated chip behind a C interface: see native.py. Everything that depends on the design
// is in taps.h, which native.py writes:
//   CELOSIA_TAPS(TAP)   TAP(index, valid port, payload port, bytes of payload) for each tap
//   CELOSIA_N_TAPS      their number
//   CELOSIA_AXI(AXI)    AXI(index, prefix of the ports, bytes of a transfer) for each AXI4 port
//   CELOSIA_AXI_WRITES(AXI)  the same for those that can also be written
//   CELOSIA_N_AXI_WRITES     the number of these
//   CELOSIA_N_AXI       the number of ports
//   CELOSIA_SDRAM       1 if there are the pins of an SDRAM, else 0
//   CELOSIA_ACTIVITY    the activity port, and CELOSIA_ACTIVITY_BYTES, if there is one

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "Vtop.h"
#include "taps.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "ports are copied byte for byte, which needs a little-endian machine"
#endif

double sc_time_stamp() { return 0; }

namespace {

// Values with the cycle in which each appeared, and how many of them the caller has fetched.
struct Record {
    std::vector<uint64_t> cycles;
    std::vector<uint8_t> bytes;

    template <typename Port>
    void add(uint64_t cycle, const Port& port, size_t size) {
        const auto* from = reinterpret_cast<const uint8_t*>(&port);
        cycles.push_back(cycle);
        bytes.insert(bytes.end(), from, from + size);
    }

    void clear() {
        cycles.clear();
        bytes.clear();
    }
};

// An AXI4 slave over a memory of the caller's: every burst begins `latency` cycles after it was
// asked for or when the one before it ends; transfers pause at random `stall` times in 256. Writes
// take effect transfer by transfer, and are answered `latency` cycles after their last one.
struct Memory {
    struct Burst {
        uint64_t address, left, cycle;
    };
    uint8_t* bytes = nullptr;
    uint64_t size = 0;
    uint64_t latency = 1;
    uint32_t stall = 0;
    uint64_t bad = UINT64_MAX;  // a transfer that holds this byte is answered with `response`
    uint8_t response = 0;
    uint32_t random = 0x9E3779B1;
    std::deque<Burst> bursts;
    bool offered = false;
    std::deque<Burst> writes;     // whose data are still to come
    std::deque<uint64_t> answers; // the cycle of each, times 4, and its response
    uint8_t written = 0;          // the response of the burst whose data come
    bool answered = false;

    bool pauses() {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        return (random & 255) < stall;
    }

    uint8_t response_at(uint64_t address, size_t width) const {
        if (address + width > size) return 3;
        return bad - address < width ? response : 0;
    }

    void clear() {
        bursts.clear();
        writes.clear();
        answers.clear();
        offered = answered = false;
        written = 0;
    }

    // The slave's outputs for this cycle.
    template <typename Data>
    void drive(uint64_t cycle, size_t width, uint8_t& arready, uint8_t& rvalid, Data& rdata,
               uint8_t& rresp, uint8_t& rlast) {
        arready = bursts.size() < 64 && !pauses();
        if (!offered) offered = !bursts.empty() && bursts.front().cycle <= cycle && !pauses();
        rvalid = offered;
        if (!offered) return;
        const Burst& burst = bursts.front();
        if (burst.address + width <= size) std::memcpy(&rdata, bytes + burst.address, width);
        rresp = response_at(burst.address, width);
        rlast = burst.left == 1;
    }

    // Likewise of its write channels. Addresses wait for data one time in two, as AXI allows.
    void drive_writes(uint64_t cycle, bool wvalid, uint8_t& awready, uint8_t& wready,
                      uint8_t& bvalid, uint8_t& bresp) {
        awready = writes.size() < 4 && ((cycle & 64) || wvalid) && !pauses();
        wready = !writes.empty() && !pauses();
        if (!answered)
            answered = !answers.empty() && answers.front() / 4 <= cycle && !pauses();
        bvalid = answered;
        if (answered) bresp = answers.front() & 3;
    }

    template <typename Data, typename Strobes>
    void take_writes(uint64_t cycle, size_t width, bool awvalid, bool awready, uint64_t address,
                     uint64_t length, bool wvalid, bool wready, const Data& wdata,
                     const Strobes& wstrb, bool bready) {
        if (answered && bready) {
            answered = false;
            answers.pop_front();
        }
        if (wvalid && wready) {
            Burst& burst = writes.front();
            const auto* data = reinterpret_cast<const uint8_t*>(&wdata);
            const auto* strobes = reinterpret_cast<const uint8_t*>(&wstrb);
            const uint8_t result = response_at(burst.address, width);
            for (size_t n = 0; !result && n < width; ++n)
                if (strobes[n / 8] >> n % 8 & 1) bytes[burst.address + n] = data[n];
            written = result ? result : written;
            burst.address += width;
            if (--burst.left == 0) {
                writes.pop_front();
                answers.push_back((cycle + latency) * 4 + written);
                written = 0;
            }
        }
        if (awvalid && awready) writes.push_back({address, length + 1, cycle});
    }

    // What the master answered.
    void take(uint64_t cycle, size_t width, bool arvalid, bool arready, uint64_t address,
              uint64_t length, bool rready) {
        if (offered && rready) {
            offered = false;
            bursts.front().address += width;
            if (--bursts.front().left == 0) bursts.pop_front();
        }
        if (arvalid && arready) bursts.push_back({address, length + 1, cycle + latency});
    }
};

// An SDRAM behind registers in its pins: what is read, not when it may be. The rules are checked
// by sdram_model.py. Its cells keep what is written over a reset.
struct Sdram {
    std::vector<uint16_t> cells;
    uint32_t rows[4] = {};
    uint32_t latency = 2;
    uint16_t given[32] = {};  // by the cycle in which dq_i shows it

    void load(const uint8_t* bytes, uint64_t size) {
        cells.assign(1 << 24, 0xA5A5);
        if (size) std::memcpy(cells.data(), bytes, size);
    }

    uint16_t drive(uint64_t cycle) { return given[cycle % 32]; }

    void take(uint64_t cycle, bool selected, unsigned command, unsigned bank, unsigned address,
              uint16_t data) {
        given[cycle % 32] = 0x5A5A;
        if (!selected) return;
        if (cells.empty()) load(nullptr, 0);
        const uint32_t place = rows[bank] << 11 | bank << 9 | (address & 511);
        switch (command) {
            case 0: latency = address >> 4 & 7; break;
            case 3: rows[bank] = address; break;
            case 4: cells[place] = data; break;
            case 5:
                for (uint32_t n = 0; n < 8; ++n)
                    given[(cycle + latency + 2 + n) % 32] = cells[(place & ~7) | ((place + n) & 7)];
        }
    }
};

#if VM_TRACE
// A VCD file that keeps the error of a full disk, where Verilator's own would end the process.
struct WavesFile : VerilatedVcdFile {
    int error = 0;

    bool open(const std::string& name) override {
        const bool good = VerilatedVcdFile::open(name);
        if (!good) error = errno;
        return good;
    }

    ssize_t write(const char* bytes, ssize_t size) override {
        while (!error) {
            const ssize_t done = VerilatedVcdFile::write(bytes, size);
            if (done >= 0) return done;
            if (errno != EAGAIN && errno != EINTR) error = errno;
        }
        return size;
    }
};
#endif

struct Chip {
    VerilatedContext context;
    std::unique_ptr<Vtop> top;
    std::deque<uint8_t> to_chip;
    Record from_chip;
    Record taps[CELOSIA_N_TAPS + 1];
    Record activity;
    Memory memories[CELOSIA_N_AXI + 1];
    Sdram sdram;
    bool recording = true;
    bool recording_activity = false;
    uint64_t cycle = 0;
#if VM_TRACE
    WavesFile waves_file;
    std::unique_ptr<VerilatedVcdC> waves;
    uint64_t time = 0;
#endif

    explicit Chip(const char* waves_path) {
#if VM_TRACE
        context.traceEverOn(true);
#endif
        top = std::make_unique<Vtop>(&context);
#if VM_TRACE
        waves = std::make_unique<VerilatedVcdC>(&waves_file);
        top->trace(waves.get(), 99);
        waves->open(waves_path);
#endif
        reset();
    }

    ~Chip() {
#if VM_TRACE
        waves->close();
#endif
        top->final();
    }

    void dump() {
#if VM_TRACE
        waves->dump(time++);
#endif
    }

    void settle() {
        top->clk = 0;
        top->eval();
        dump();
    }

    void edge() {
        top->clk = 1;
        top->eval();
        dump();
    }

    void reset() {
        to_chip.clear();
        from_chip.clear();
        for (auto& tap : taps) tap.clear();
        activity.clear();
        top->rx___05Fvalid = 0;
        top->rx___05Fpayload = 0;
        top->tx___05Fready = 1;
        for (auto& memory : memories) memory.clear();
        for (int left = 3; left; --left) {  // a register in front delays the reset by a cycle
            top->rst = left > 1;
            settle();
            edge();
        }
        cycle = 0;
    }

    // One cycle; whether a byte came out of the chip.
    bool step() {
        const bool offer = !to_chip.empty();
        top->rx___05Fvalid = offer;
        if (offer) top->rx___05Fpayload = to_chip.front();
#define AXI(index, prefix, size)                                                        \
    memories[index].drive(cycle, size, top->prefix##arready, top->prefix##rvalid,      \
                          top->prefix##rdata, top->prefix##rresp, top->prefix##rlast);
        CELOSIA_AXI(AXI)
#undef AXI
#if CELOSIA_SDRAM
        top->sdram___05Fdq_i = sdram.drive(cycle);
#endif
        settle();
#if CELOSIA_SDRAM
        const unsigned command =
            top->sdram___05Fras_n << 2 | top->sdram___05Fcas_n << 1 | top->sdram___05Fwe_n;
        sdram.take(cycle, !top->sdram___05Fcs_n, command, top->sdram___05Fba, top->sdram___05Fa,
                   top->sdram___05Fdq_o);
#endif
#define AXI(index, prefix, size)                                                              \
    memories[index].drive_writes(cycle, top->prefix##wvalid, top->prefix##awready,           \
                                 top->prefix##wready, top->prefix##bvalid, top->prefix##bresp);
        CELOSIA_AXI_WRITES(AXI)
#undef AXI
        if (CELOSIA_N_AXI_WRITES) top->eval();
#define AXI(index, prefix, size)                                                        \
    memories[index].take(cycle, size, top->prefix##arvalid, top->prefix##arready,      \
                         top->prefix##araddr, top->prefix##arlen, top->prefix##rready);
        CELOSIA_AXI(AXI)
#undef AXI
#define AXI(index, prefix, size)                                                                 \
    memories[index].take_writes(cycle, size, top->prefix##awvalid, top->prefix##awready,        \
                                top->prefix##awaddr, top->prefix##awlen, top->prefix##wvalid,   \
                                top->prefix##wready, top->prefix##wdata, top->prefix##wstrb,    \
                                top->prefix##bready);
        CELOSIA_AXI_WRITES(AXI)
#undef AXI
        const bool taken = offer && top->rx___05Fready;
        const bool given = top->tx___05Fvalid;
        if (given) from_chip.add(cycle, top->tx___05Fpayload, 1);
        if (recording) {
#define TAP(index, valid, payload, size) \
    if (top->valid) taps[index].add(cycle, top->payload, size);
            CELOSIA_TAPS(TAP)
#undef TAP
        }
#ifdef CELOSIA_ACTIVITY
        if (recording_activity) {
            constexpr size_t size = CELOSIA_ACTIVITY_BYTES;
            const uint8_t* last = activity.bytes.data() + activity.bytes.size() - size;
            if (activity.cycles.empty() || std::memcmp(last, &top->CELOSIA_ACTIVITY, size))
                activity.add(cycle, top->CELOSIA_ACTIVITY, size);
        }
#endif
        edge();
        if (taken) to_chip.pop_front();
        ++cycle;
        return given;
    }
};

Record& record(Chip* chip, int which) {
    if (which == -2) return chip->activity;
    if (which == -1) return chip->from_chip;
    return chip->taps[which];
}

}  // namespace

extern "C" {

Chip* celosia_new(const char* waves_path) { return new Chip(waves_path); }

// The error, as errno has it, of writing the VCD file, or 0.
int celosia_delete(Chip* chip) {
    int error = 0;
#if VM_TRACE
    chip->waves->close();
    error = chip->waves_file.error;
#endif
    delete chip;
    return error;
}

void celosia_reset(Chip* chip) { chip->reset(); }

void celosia_send(Chip* chip, const uint8_t* bytes, uint64_t count) {
    chip->to_chip.insert(chip->to_chip.end(), bytes, bytes + count);
}

uint64_t celosia_unsent(Chip* chip) { return chip->to_chip.size(); }

// Run until `cycles` cycles have passed or `bytes` bytes have come out; the cycles run.
uint64_t celosia_step(Chip* chip, uint64_t cycles, uint64_t bytes) {
    uint64_t done = 0;
    while (done < cycles && bytes) {
        bytes -= chip->step();
        ++done;
    }
    return done;
}

void celosia_memory(Chip* chip, int port, uint8_t* bytes, uint64_t size, uint64_t latency,
                    uint32_t stall) {
    Memory& memory = chip->memories[port];
    memory.bytes = bytes;
    memory.size = size;
    memory.latency = latency;
    memory.stall = stall;
    memory.bad = UINT64_MAX;
}

void celosia_fault(Chip* chip, int port, uint64_t address, uint32_t response) {
    chip->memories[port].bad = address;
    chip->memories[port].response = response;
}

void celosia_sdram(Chip* chip, const uint8_t* bytes, uint64_t size) {
    chip->sdram.load(bytes, size);
}

uint64_t celosia_cycle(Chip* chip) { return chip->cycle; }

void celosia_recording(Chip* chip, int taps, int activity) {
    chip->recording = taps;
    chip->recording_activity = activity;
}

// Records: the taps by number, -1 what came out of the chip, -2 its activity.
uint64_t celosia_count(Chip* chip, int which) { return record(chip, which).cycles.size(); }
const uint64_t* celosia_cycles(Chip* chip, int which) { return record(chip, which).cycles.data(); }
const uint8_t* celosia_bytes(Chip* chip, int which) { return record(chip, which).bytes.data(); }
void celosia_clear(Chip* chip, int which) { record(chip, which).clear(); }
}
