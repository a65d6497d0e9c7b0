// One-shot collectives over NVLink: all-reduce, alone or fused with the residual addition and the RMS norm that follow
// it, and all-gather.
//
// A decode sums small rows over the ranks twice per layer, so latency is all that counts. Each rank writes its rows
// into a buffer of every other rank and then combines what the others have written into its own:
//
//     rank 0   x0 ──► buffer[0] of rank 1       rank 0 polls its buffer[1], then  sum = x0 + x1
//     rank 1   x1 ──► buffer[1] of rank 0       rank 1 polls its buffer[0], then  sum = x0 + x1
//
// There are no flags: a word of the buffer is EMPTY (-0.0f) until its data arrives, as in Lamport's protocol, so data
// costs one trip over the link and no fence. Senders replace EMPTY by 0. Three buffers take turns. A call reads the
// buffer of its turn and empties that of the call before, whose data this rank has read. No rank writes there before
// the call after the next one, and none begins that before this call has ended here, since it waits for our data of
// the next. So every rank must send something in every call. Sums run in the order of the ranks, so all get the same
// bits.
//
// Source of the idea: TensorRT-LLM's and FlashInfer's Lamport all-reduce; Lamport, "Concurrent reading and writing",
// 1977.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace {

constexpr uint32_t EMPTY = 0x80000000u;
constexpr int MAX_RANKS = 8;
constexpr int TURNS = 3;
constexpr int MAX_THREADS = 1024;

struct State {
    uint32_t turn;
    uint32_t finished;  // blocks of this call that are done
    uint32_t dirty;     // 16-byte vectors that each rank wrote in the call before
};

struct Ranks {
    uint4* buffers[MAX_RANKS];  // of each rank: [TURNS, ranks, capacity]
    State* state;
    int rank, count;
    int capacity;  // vectors that one rank can write in a turn
};

struct Problem {
    Ranks ranks;
    const uint4* x;         // [rows, width] this rank's part
    const uint4* residual;  // [rows, width]; null: sum only
    const uint4* weight;    // [width]
    uint4* out;             // the norm; without a residual, the sum; of a gather, [rows, ranks, width]
    uint4* total;           // residual plus sum
    int rows, width;        // width: vectors in a row
    float eps;
};

template <typename T>
struct Vector {
    static constexpr int N = 16 / sizeof(T);
    static __device__ void add(float (&sum)[N], uint4 bits) {
        const T* values = reinterpret_cast<const T*>(&bits);
#pragma unroll
        for (int i = 0; i < N; i++) sum[i] += static_cast<float>(values[i]);
    }
    static __device__ uint4 pack(const float (&values)[N]) {
        uint4 bits;
        T* out = reinterpret_cast<T*>(&bits);
#pragma unroll
        for (int i = 0; i < N; i++) out[i] = static_cast<T>(values[i]);
        return bits;
    }
};

__device__ uint4 without_empty(uint4 v) {
    v.x = v.x == EMPTY ? 0 : v.x, v.y = v.y == EMPTY ? 0 : v.y;
    v.z = v.z == EMPTY ? 0 : v.z, v.w = v.w == EMPTY ? 0 : v.w;
    return v;
}

__device__ void store_remote(uint4* to, uint4 v) {
    asm volatile("st.relaxed.sys.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(v.x), "r"(v.y), "r"(v.z),
                 "r"(v.w)
                 : "memory");
}

__device__ uint4 poll(const uint4* from) {
    uint4 v;
    do {
        asm volatile("ld.relaxed.sys.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                     : "l"(from)
                     : "memory");
    } while (v.x == EMPTY || v.y == EMPTY || v.z == EMPTY || v.w == EMPTY);
    return v;
}

__device__ float block_sum(float value) {
    __shared__ float parts[MAX_THREADS / 32];
#pragma unroll
    for (int lane = 16; lane; lane >>= 1) value += __shfl_xor_sync(~0u, value, lane);
    __syncthreads();  // the row before has read `parts`
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    float sum = 0;
    for (int warp = 0; warp < blockDim.x / 32; warp++) sum += parts[warp];
    return sum;
}

/// One call: the buffers of its turn.
struct Call {
    const Ranks& ranks;
    uint32_t turn, dirty;
    int64_t area;

    __device__ explicit Call(const Ranks& ranks) : ranks(ranks), area(int64_t(ranks.count) * ranks.capacity) {
        // Programmatic dependent launch: the next kernel can start, and this one waits for the end of the one before.
        asm volatile("griddepcontrol.launch_dependents;");
        asm volatile("griddepcontrol.wait;" ::: "memory");
        turn = ranks.state->turn;
        dirty = ranks.state->dirty;
    }

    __device__ void send(int64_t at, uint4 part) const {
        part = without_empty(part);
        for (int step = 1; step < ranks.count; step++) {
            uint4* theirs = ranks.buffers[(ranks.rank + step) % ranks.count];
            store_remote(theirs + turn * area + int64_t(ranks.rank) * ranks.capacity + at, part);
        }
    }

    __device__ uint4 receive(int rank, int64_t at) const {
        return poll(ranks.buffers[ranks.rank] + turn * area + int64_t(rank) * ranks.capacity + at);
    }

    /// Empty the buffer of the call before.
    __device__ void clean() const {
        uint4* before = ranks.buffers[ranks.rank] + (turn + TURNS - 1) % TURNS * area;
        for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < dirty; i += gridDim.x * blockDim.x)
            for (int rank = 0; rank < ranks.count; rank++)
                if (rank != ranks.rank)
                    before[int64_t(rank) * ranks.capacity + i] = make_uint4(EMPTY, EMPTY, EMPTY, EMPTY);
    }

    /// Hand over to the next call once all blocks have read the state.
    __device__ void finish(uint32_t written) const {
        __syncthreads();
        if (threadIdx.x == 0 && atomicAdd(&ranks.state->finished, 1) == gridDim.x - 1)
            *ranks.state = {(turn + 1) % TURNS, 0, written};
    }
};

/// One block a row at a time, PER vectors a thread. All blocks fit on the device together, because they wait.
template <typename T, int PER>
__global__ void __launch_bounds__(MAX_THREADS) all_reduce_kernel(const __grid_constant__ Problem p) {
    constexpr int N = Vector<T>::N;
    const Call call(p.ranks);
    for (int row = blockIdx.x; row < p.rows; row += gridDim.x) {
#pragma unroll
        for (int j = 0; j < PER; j++) {
            const int column = threadIdx.x + j * blockDim.x;
            const int64_t at = int64_t(row) * p.width + column;
            if (column < p.width) call.send(at, p.x[at]);
        }
    }
    call.clean();
    for (int row = blockIdx.x; row < p.rows; row += gridDim.x) {
        float sum[PER][N] = {};
        float squares = 0;
#pragma unroll
        for (int j = 0; j < PER; j++) {
            const int column = threadIdx.x + j * blockDim.x;
            if (column >= p.width) continue;
            const int64_t at = int64_t(row) * p.width + column;
            const uint4 own = p.x[at], rest = p.residual ? p.residual[at] : make_uint4(0, 0, 0, 0);
            for (int rank = 0; rank < p.ranks.count; rank++)
                Vector<T>::add(sum[j], rank == p.ranks.rank ? own : call.receive(rank, at));
            if (!p.residual) {
                p.out[at] = Vector<T>::pack(sum[j]);
                continue;
            }
            Vector<T>::add(sum[j], rest);
            p.total[at] = Vector<T>::pack(sum[j]);
#pragma unroll
            for (int i = 0; i < N; i++) squares += sum[j][i] * sum[j][i];
        }
        if (!p.residual) continue;
        const float scale = rsqrtf(block_sum(squares) / (p.width * N) + p.eps);
#pragma unroll
        for (int j = 0; j < PER; j++) {
            const int column = threadIdx.x + j * blockDim.x;
            if (column >= p.width) continue;
            float weight[N] = {};
            Vector<T>::add(weight, p.weight[column]);
#pragma unroll
            for (int i = 0; i < N; i++) sum[j][i] *= scale * weight[i];
            p.out[int64_t(row) * p.width + column] = Vector<T>::pack(sum[j]);
        }
    }
    call.finish(p.rows * p.width);
}

__global__ void __launch_bounds__(MAX_THREADS) all_gather_kernel(const __grid_constant__ Problem p) {
    const Call call(p.ranks);
    const int count = p.rows * p.width, first = blockIdx.x * blockDim.x + threadIdx.x, step = gridDim.x * blockDim.x;
    for (int at = first; at < count; at += step) call.send(at, p.x[at]);
    call.clean();
    for (int at = first; at < count; at += step) {
        const int64_t row = at / p.width * p.ranks.count;
        for (int rank = 0; rank < p.ranks.count; rank++)
            p.out[(row + rank) * p.width + at % p.width] = rank == p.ranks.rank ? p.x[at] : call.receive(rank, at);
    }
    call.finish(count);
}

__global__ void fill(uint4* buffer, int64_t count) {
    for (int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; i < count; i += int64_t(gridDim.x) * blockDim.x)
        buffer[i] = make_uint4(EMPTY, EMPTY, EMPTY, EMPTY);
}

/// Launch at most as many blocks as the device holds at once.
cudaError_t launch(void (*kernel)(Problem), const Problem& p, int blocks, int threads, cudaStream_t stream) {
    int device, processors, resident;
    if (cudaError_t error = cudaGetDevice(&device)) return error;
    if (cudaError_t error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device)) return error;
    if (cudaError_t error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, threads, 0)) return error;
    const int most = processors * resident;
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = blocks < most ? blocks : most;
    config.blockDim = threads;
    config.stream = stream;
    config.attrs = &early;
    config.numAttrs = 1;
    return cudaLaunchKernelEx(&config, kernel, p);
}

template <typename T>
cudaError_t launch_reduce(const Problem& p, cudaStream_t stream) {
    const int per = (p.width + MAX_THREADS - 1) / MAX_THREADS;
    const int threads = ((p.width + per - 1) / per + 31) / 32 * 32;
    switch (per) {
        case 1: return launch(all_reduce_kernel<T, 1>, p, p.rows, threads, stream);
        case 2: return launch(all_reduce_kernel<T, 2>, p, p.rows, threads, stream);
        case 3:
        case 4: return launch(all_reduce_kernel<T, 4>, p, p.rows, threads, stream);
        default: return cudaErrorInvalidValue;
    }
}

Ranks make_ranks(void* const* buffers, void* state, int rank, int ranks, int capacity) {
    Ranks made = {{}, static_cast<State*>(state), rank, ranks, capacity};
    for (int each = 0; each < ranks; each++) made.buffers[each] = static_cast<uint4*>(buffers[each]);
    return made;
}

bool fits(int ranks, int rows, int width, int capacity) {
    return rows > 0 && width > 0 && ranks > 1 && ranks <= MAX_RANKS && int64_t(rows) * width <= capacity;
}

}  // namespace

/// Allocate `bytes` that other processes can map, full of EMPTY, and the state behind them. `handle`: 64 bytes.
extern "C" cudaError_t one_shot_allocate(int device, int64_t bytes, void** buffer, void** state, void* handle) {
    if (cudaError_t error = cudaSetDevice(device)) return error;
    if (cudaError_t error = cudaMalloc(buffer, bytes)) return error;
    if (cudaError_t error = cudaMalloc(state, sizeof(State))) return error;
    if (cudaError_t error = cudaMemset(*state, 0, sizeof(State))) return error;
    fill<<<1024, 256>>>(static_cast<uint4*>(*buffer), bytes / 16);
    if (cudaError_t error = cudaDeviceSynchronize()) return error;
    return cudaIpcGetMemHandle(static_cast<cudaIpcMemHandle_t*>(handle), *buffer);
}

/// Map another rank's buffer into this process.
extern "C" cudaError_t one_shot_open(const void* handle, void** buffer) {
    return cudaIpcOpenMemHandle(
        buffer, *static_cast<const cudaIpcMemHandle_t*>(handle), cudaIpcMemLazyEnablePeerAccess);
}

extern "C" cudaError_t one_shot_close(void* buffer) { return cudaIpcCloseMemHandle(buffer); }

extern "C" cudaError_t one_shot_free(void* buffer, void* state) {
    if (cudaError_t error = cudaFree(buffer)) return error;
    return cudaFree(state);
}

/// x, residual, out, total [rows, width * 16 bytes], weight [width * 16 bytes]; type: 0 float32, 1 float16, 2 bfloat16.
/// `buffers`: one address per rank. `capacity`: 16-byte vectors that a rank can write, at least rows * width.
extern "C" cudaError_t one_shot_reduce(
    const void* x, const void* residual, const void* weight, void* out, void* total, void* const* buffers, void* state,
    int rank, int ranks, int rows, int width, int capacity, float eps, int type, cudaStream_t stream) {
    if (!fits(ranks, rows, width, capacity)) return cudaErrorInvalidValue;
    const Problem p = {
        make_ranks(buffers, state, rank, ranks, capacity),
        static_cast<const uint4*>(x),
        static_cast<const uint4*>(residual),
        static_cast<const uint4*>(weight),
        static_cast<uint4*>(out),
        static_cast<uint4*>(total),
        rows,
        width,
        eps};
    switch (type) {
        case 0: return launch_reduce<float>(p, stream);
        case 1: return launch_reduce<__half>(p, stream);
        case 2: return launch_reduce<__nv_bfloat16>(p, stream);
        default: return cudaErrorInvalidValue;
    }
}

/// x [rows, width * 16 bytes] of each rank -> out [rows, ranks, width * 16 bytes].
extern "C" cudaError_t one_shot_gather(
    const void* x, void* out, void* const* buffers, void* state, int rank, int ranks, int rows, int width, int capacity,
    cudaStream_t stream) {
    if (!fits(ranks, rows, width, capacity)) return cudaErrorInvalidValue;
    const Problem p = {
        make_ranks(buffers, state, rank, ranks, capacity),
        static_cast<const uint4*>(x),
        nullptr,
        nullptr,
        static_cast<uint4*>(out),
        nullptr,
        rows,
        width,
        0};
    const int threads = 512, blocks = (rows * width + threads - 1) / threads;
    return launch(all_gather_kernel, p, blocks, threads, stream);
}
