/* An NVML whose every call can be made to fail: the variable NVML_<call> is the code that it returns (0 when not set).
 *
 * NVML_COUNT GPUs (1), named NVML_NAME; NVML_LOAD per cent, NVML_CLOCK MHz, NVML_PIDS processes. Variables are read at
 * every call, so that one process can play any fault after another.
 *
 * cc -shared -fPIC -Wl,-soname,libnvidia-ml.so.1 -o libnvidia-ml.so.1 nvml.c
 * -DWITHOUT_<call> leaves a function out, as older drivers do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INSUFFICIENT_SIZE 7
#define TIMEOUT 10

typedef struct { unsigned pid; unsigned long long bytes; unsigned gpu_instance, compute_instance; } process;

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text && *text ? strtol(text, NULL, 10) : otherwise;
}

static void put_text(char *to, unsigned size, const char *name, const char *otherwise) {
    const char *text = getenv(name);
    snprintf(to, size, "%s", text ? text : otherwise);
}

#define CODE(call) ((int)number("NVML_" #call, 0))
#define ANSWER(call, set) { int code = CODE(call); if (code == 0) { set; } return code; }

#ifndef WITHOUT_InitWithFlags
int nvmlInitWithFlags(unsigned flags) { (void)flags; ANSWER(InitWithFlags, ) }
#endif
#ifndef WITHOUT_Shutdown
int nvmlShutdown(void) ANSWER(Shutdown, )
#endif
#ifndef WITHOUT_ErrorString
const char *nvmlErrorString(int code) { static char text[32]; snprintf(text, sizeof text, "made-up error %d", code); return text; }
#endif
#ifndef WITHOUT_SystemGetDriverVersion
int nvmlSystemGetDriverVersion(char *to, unsigned size) ANSWER(SystemGetDriverVersion, put_text(to, size, "NVML_DRIVER", "580.95.05"))
#endif
#ifndef WITHOUT_DeviceGetCount_v2
int nvmlDeviceGetCount_v2(unsigned *to) ANSWER(DeviceGetCount_v2, *to = (unsigned)number("NVML_COUNT", 1))
#endif
#ifndef WITHOUT_DeviceGetHandleByIndex_v2
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **to) ANSWER(DeviceGetHandleByIndex_v2, *to = (void *)(size_t)(i + 1))
#endif
#ifndef WITHOUT_DeviceGetUUID
int nvmlDeviceGetUUID(void *gpu, char *to, unsigned size) ANSWER(DeviceGetUUID, snprintf(to, size, "GPU-%08zu", (size_t)gpu))
#endif
#ifndef WITHOUT_DeviceGetName
int nvmlDeviceGetName(void *gpu, char *to, unsigned size) { (void)gpu; ANSWER(DeviceGetName, put_text(to, size, "NVML_NAME", "NVIDIA GB10")) }
#endif
#ifndef WITHOUT_DeviceGetUtilizationRates
int nvmlDeviceGetUtilizationRates(void *gpu, unsigned *to) { (void)gpu; ANSWER(DeviceGetUtilizationRates, to[0] = (unsigned)number("NVML_LOAD", 0); to[1] = 0) }
#endif
#ifndef WITHOUT_DeviceGetMemoryInfo
int nvmlDeviceGetMemoryInfo(void *gpu, unsigned long long *to) { (void)gpu; ANSWER(DeviceGetMemoryInfo, to[0] = 80ULL << 30; to[1] = 79ULL << 30; to[2] = 1ULL << 30) }
#endif
#ifndef WITHOUT_DeviceGetTemperature
int nvmlDeviceGetTemperature(void *gpu, int sensor, unsigned *to) { (void)gpu; (void)sensor; ANSWER(DeviceGetTemperature, *to = 41) }
#endif
#ifndef WITHOUT_DeviceGetClockInfo
int nvmlDeviceGetClockInfo(void *gpu, int kind, unsigned *to) { (void)gpu; (void)kind; ANSWER(DeviceGetClockInfo, *to = (unsigned)number("NVML_CLOCK", 2411)) }
#endif
#ifndef WITHOUT_DeviceGetPowerUsage
int nvmlDeviceGetPowerUsage(void *gpu, unsigned *to) { (void)gpu; ANSWER(DeviceGetPowerUsage, *to = 60000) }
#endif
#ifndef WITHOUT_DeviceGetTotalEnergyConsumption
int nvmlDeviceGetTotalEnergyConsumption(void *gpu, unsigned long long *to) { (void)gpu; ANSWER(DeviceGetTotalEnergyConsumption, *to = 5000) }
#endif
#ifndef WITHOUT_DeviceGetCurrentClocksEventReasons
int nvmlDeviceGetCurrentClocksEventReasons(void *gpu, unsigned long long *to) { (void)gpu; ANSWER(DeviceGetCurrentClocksEventReasons, *to = 0) }
#endif
#ifndef WITHOUT_DeviceGetCurrentClocksThrottleReasons
int nvmlDeviceGetCurrentClocksThrottleReasons(void *gpu, unsigned long long *to) { (void)gpu; ANSWER(DeviceGetCurrentClocksThrottleReasons, *to = 0) }
#endif
#ifndef WITHOUT_DeviceGetComputeRunningProcesses_v3
int nvmlDeviceGetComputeRunningProcesses_v3(void *gpu, unsigned *count, process *to) {
    long i, pids = number("NVML_PIDS", 0);
    int code = CODE(DeviceGetComputeRunningProcesses_v3);
    (void)gpu;
    if (code == 0 && to == NULL && pids > 0) code = INSUFFICIENT_SIZE;
    if (code == 0 && to != NULL)
        for (i = 0; i < pids; i++) to[i] = (process){.pid = 1, .bytes = 1ULL << 30};
    *count = (unsigned)pids;
    return code;
}
#endif
#ifndef WITHOUT_DeviceGetTotalEccErrors
int nvmlDeviceGetTotalEccErrors(void *gpu, int kind, int counter, unsigned long long *to) { (void)gpu; (void)kind; (void)counter; ANSWER(DeviceGetTotalEccErrors, *to = 0) }
#endif
#ifndef WITHOUT_EventSetCreate
int nvmlEventSetCreate(void **to) ANSWER(EventSetCreate, *to = (void *)1)
#endif
#ifndef WITHOUT_DeviceRegisterEvents
int nvmlDeviceRegisterEvents(void *gpu, unsigned long long types, void *set) { (void)gpu; (void)types; (void)set; ANSWER(DeviceRegisterEvents, ) }
#endif
#ifndef WITHOUT_EventSetWait_v2
int nvmlEventSetWait_v2(void *set, void *to, unsigned patience) { (void)set; (void)to; (void)patience; return (int)number("NVML_EventSetWait_v2", TIMEOUT); }
#endif
#ifndef WITHOUT_EventSetFree
int nvmlEventSetFree(void *set) { (void)set; ANSWER(EventSetFree, ) }
#endif
