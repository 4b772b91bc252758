#ifndef EPLB_TESTS_CUDA_EMULATOR_NCCL_H
#define EPLB_TESTS_CUDA_EMULATOR_NCCL_H

#include <cstddef>

#include "tests/cuda_emulator/runtime_api.h"

// The part of NCCL that the project uses, between the threads of one process. Names, values and
// meaning are NVIDIA's. Communicators are non-blocking; a call that follows one still in progress
// is an error of the caller.

enum ncclResult_t {
    ncclSuccess = 0,
    ncclUnhandledCudaError = 1,
    ncclSystemError = 2,
    ncclInternalError = 3,
    ncclInvalidArgument = 4,
    ncclInvalidUsage = 5,
    ncclRemoteError = 6,
    ncclInProgress = 7,
};
enum ncclDataType_t { ncclUint8 = 1 };

struct ncclUniqueId {
    char internal[128];
};
struct ncclConfig_t {
    int blocking;
};
#define NCCL_CONFIG_INITIALIZER \
    { 1 }

using ncclComm_t = struct ncclComm*;

const char* ncclGetErrorString(ncclResult_t result);
const char* ncclGetLastError(ncclComm_t comm);
ncclResult_t ncclGetUniqueId(ncclUniqueId* id);
ncclResult_t ncclCommInitRankConfig(
    ncclComm_t* comm, int num_ranks, ncclUniqueId id, int rank, ncclConfig_t* config);
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* result);
ncclResult_t ncclCommFinalize(ncclComm_t comm);
ncclResult_t ncclCommDestroy(ncclComm_t comm);
ncclResult_t ncclCommAbort(ncclComm_t comm);
ncclResult_t ncclGroupStart();
ncclResult_t ncclGroupEnd();
ncclResult_t ncclSend(const void* memory,
                      std::size_t count,
                      ncclDataType_t type,
                      int peer,
                      ncclComm_t comm,
                      cudaStream_t stream);
ncclResult_t ncclRecv(void* memory,
                      std::size_t count,
                      ncclDataType_t type,
                      int peer,
                      ncclComm_t comm,
                      cudaStream_t stream);
ncclResult_t ncclAllGather(const void* send,
                           void* receive,
                           std::size_t count,
                           ncclDataType_t type,
                           ncclComm_t comm,
                           cudaStream_t stream);

namespace cuda_emulator {

// Makes a rank's communicators report an error from the next question on; ncclSuccess: not any
// more.
void set_nccl_error(int rank, ncclResult_t error);
// Communicators that were neither destroyed nor aborted.
int num_communicators();
// Of those that ended: how many by ncclCommAbort() so far.
int num_aborts();

}  // namespace cuda_emulator

#endif
