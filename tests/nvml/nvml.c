/* A stand-in for libnvidia-ml.so.1: the functions that comfy_supervisor calls, with the signatures, structures,
 * error codes and rules of nvml.h. What it pretends is read from the file that FAKE_NVML names: at nvmlInit, and
 * again whenever another file has been put in its place. Its lines, tab between the fields:
 *
 *   driver   VERSION
 *   cuda     12040
 *   card     UUID NAME TOTAL_BYTES USED_BYTES BUS_ID UTILIZATION MIG   (MIG: -1 unknown to the card, 0 off, 1 on)
 *   instance UUID NAME TOTAL_BYTES USED_BYTES                          (in the next MIG slot of the card above;
 *                                                                       no UUID: the slot is empty)
 *   process  PID BYTES KIND SM AGE                                     (on the card or instance above; KIND: C or G;
 *                                                                       SM: percent, measured AGE seconds ago)
 *   event    CARD XID INSTANCE COUNT COPY                              (INSTANCE: -1 for the whole card; COPY: 1 to
 *                                                                       tell of it with a handle of its own; the
 *                                                                       lines only ever grow in number)
 *   fault    FUNCTION CARD ACTION                                      (CARD: index, or -1 for any)
 *
 * ACTION is an error code to return, or: hang, crash (SIGSEGV), exit (with status 0), print (on standard output).
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef int nvmlReturn_t;
enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_TIMEOUT = 10,
};
enum { NVML_EVENT_TYPE_XID_CRITICAL_ERROR = 8 };

typedef struct {
    char busIdLegacy[16];
    unsigned int domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;

typedef struct {
    unsigned long long total, free, used;
} nvmlMemory_t;

typedef struct {
    unsigned int gpu, memory;
} nvmlUtilization_t;

/* nvmlDeviceGet…RunningProcesses_v2 and _v3 have this one; the first version lacked the two ids. */
typedef struct {
    unsigned int pid;
    unsigned long long usedGpuMemory;
    unsigned int gpuInstanceId, computeInstanceId;
} nvmlProcessInfo_t;

typedef struct {
    unsigned int pid;
    unsigned long long timeStamp; /* microseconds of the wall clock */
    unsigned int smUtil, memUtil, encUtil, decUtil;
} nvmlProcessUtilizationSample_t;

_Static_assert(sizeof(nvmlProcessInfo_t) == 24, "nvml.h's size");
_Static_assert(sizeof(nvmlProcessUtilizationSample_t) == 32, "nvml.h's size");

struct process {
    unsigned int pid;
    unsigned long long used;
    char kind;
    unsigned int sm;
    double age;
};

typedef struct device {
    int card; /* the index of the whole GPU */
    int is_instance;
    int mig;
    int utilization;
    unsigned long long total, used;
    char uuid[96], name[96], bus_id[32];
    int gpu_instance;
    int registered; /* for events */
    struct process processes[16];
    int process_count;
} *nvmlDevice_t;

typedef struct {
    nvmlDevice_t device;
    unsigned long long eventType, eventData;
    unsigned int gpuInstanceId, computeInstanceId; /* 0xFFFFFFFF: the whole card */
} nvmlEventData_t;

_Static_assert(sizeof(nvmlEventData_t) == 32, "nvml.h's size");

typedef struct event_set *nvmlEventSet_t;

enum { DEVICES = 64, PROCESSES = 16, EVENTS = 64, FAULTS = 32, SLOTS = 7, FIELDS = 8, LINE = 1024 };

static int initialized;
static char driver[80];
static int cuda;
static struct device devices[DEVICES];
static int device_count;
static struct { char function[64]; int card; char action[16]; } faults[FAULTS];
static int fault_count;
static struct { int card; unsigned long long xid; int instance, count, copy; } events[EVENTS];
static int event_count, delivered, repeated; /* whole lines delivered, and times that the next one was */
static struct stat script;

static void copy(char *to, size_t size, const char *from) { snprintf(to, size, "%s", from ? from : ""); }

static int number_of_cards(void) {
    int cards = 0;
    for (int i = 0; i < device_count; i++) cards += !devices[i].is_instance;
    return cards;
}

static void read_device(char **field, int is_instance) {
    if (device_count == DEVICES) return;
    struct device *device = &devices[device_count];
    device->card = number_of_cards() - is_instance;
    device->is_instance = is_instance;
    device->mig = -1;
    device->process_count = 0;
    device->gpu_instance = is_instance ? device[-1].gpu_instance + 1 : 0;
    copy(device->uuid, sizeof device->uuid, field[1]);
    copy(device->name, sizeof device->name, field[2]);
    device->total = strtoull(field[3], NULL, 10);
    device->used = strtoull(field[4], NULL, 10);
    if (!is_instance) {
        copy(device->bus_id, sizeof device->bus_id, field[5]);
        device->utilization = atoi(field[6]);
        device->mig = atoi(field[7]);
    }
    device_count++;
}

static void read_process(char **field) {
    if (!device_count || devices[device_count - 1].process_count == PROCESSES) return;
    struct device *device = &devices[device_count - 1];
    device->processes[device->process_count++] = (struct process){
        .pid = strtoul(field[1], NULL, 10),
        .used = strtoull(field[2], NULL, 10),
        .kind = *field[3],
        .sm = strtoul(field[4], NULL, 10),
        .age = atof(field[5]),
    };
}

static void read_event(char **field) {
    if (event_count == EVENTS) return;
    events[event_count].card = atoi(field[1]);
    events[event_count].xid = strtoull(field[2], NULL, 10);
    events[event_count].instance = atoi(field[3]);
    events[event_count].count = atoi(field[4]);
    events[event_count++].copy = atoi(field[5]);
}

static void read_line(char *line) {
    char *field[FIELDS] = {0};
    line[strcspn(line, "\n")] = 0;
    for (int i = 0; i < FIELDS && line; i++) field[i] = strsep(&line, "\t");
    if (!strcmp(field[0], "driver")) copy(driver, sizeof driver, field[1]);
    if (!strcmp(field[0], "cuda")) cuda = atoi(field[1]);
    if (!strcmp(field[0], "card")) read_device(field, 0);
    if (!strcmp(field[0], "instance")) read_device(field, 1);
    if (!strcmp(field[0], "process")) read_process(field);
    if (!strcmp(field[0], "event")) read_event(field);
    if (!strcmp(field[0], "fault") && fault_count < FAULTS) {
        copy(faults[fault_count].function, sizeof faults[0].function, field[1]);
        faults[fault_count].card = atoi(field[2]);
        copy(faults[fault_count++].action, sizeof faults[0].action, field[3]);
    }
}

/* Handles and what is registered for events outlive a change of the file. */
static void read_script(void) {
    const char *path = getenv("FAKE_NVML");
    struct stat found;
    if (!path || stat(path, &found)) return;
    if (found.st_ino == script.st_ino && found.st_mtim.tv_nsec == script.st_mtim.tv_nsec) return;
    FILE *file = fopen(path, "r");
    char line[LINE];
    script = found;
    device_count = fault_count = event_count = 0;
    while (file && fgets(line, sizeof line, file)) read_line(line);
    if (file) fclose(file);
}

/* Every function passes here first: what goes wrong is decided in one place. */
static nvmlReturn_t enter(const char *function, int card) {
    read_script();
    for (int i = 0; i < fault_count; i++) {
        if (strcmp(faults[i].function, function) || (faults[i].card != -1 && faults[i].card != card)) continue;
        const char *action = faults[i].action;
        if (!strcmp(action, "hang")) for (;;) pause();
        if (!strcmp(action, "crash")) raise(SIGSEGV);
        if (!strcmp(action, "exit")) _exit(0);
        if (strcmp(action, "print")) return atoi(action);
        puts("WARNING: this is not JSON");
        fflush(stdout);
    }
    return NVML_SUCCESS;
}

#define ENTER(card)                                          \
    do {                                                     \
        if (!initialized) return NVML_ERROR_UNINITIALIZED;   \
        nvmlReturn_t fault = enter(__func__, (card));        \
        if (fault) return fault;                             \
    } while (0)

#define REQUIRE(condition, error) do { if (!(condition)) return NVML_ERROR_##error; } while (0)

static nvmlReturn_t give(char *to, unsigned int size, const char *text) {
    REQUIRE(to, INVALID_ARGUMENT);
    REQUIRE(size > strlen(text), INSUFFICIENT_SIZE);
    strcpy(to, text);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    nvmlReturn_t fault = enter(__func__, -1);
    initialized = !fault;
    return fault;
}

const char *nvmlErrorString(nvmlReturn_t result) {
    static char text[32];
    snprintf(text, sizeof text, "Error %d", result);
    return text;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    ENTER(-1);
    return give(version, length, driver);
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) {
    ENTER(-1);
    REQUIRE(version, INVALID_ARGUMENT);
    *version = cuda;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
    ENTER(-1);
    REQUIRE(count, INVALID_ARGUMENT);
    *count = number_of_cards();
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    ENTER((int)index);
    REQUIRE(device, INVALID_ARGUMENT);
    for (int i = 0; i < device_count; i++) {
        if (devices[i].is_instance || devices[i].card != (int)index) continue;
        *device = &devices[i];
        return NVML_SUCCESS;
    }
    return NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index) {
    REQUIRE(device && index, INVALID_ARGUMENT);
    ENTER(device->card);
    *index = device->card;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length) {
    REQUIRE(device, INVALID_ARGUMENT);
    ENTER(device->card);
    return give(uuid, length, device->uuid);
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length) {
    REQUIRE(device, INVALID_ARGUMENT);
    ENTER(device->card);
    return give(name, length, device->name);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    REQUIRE(device && memory, INVALID_ARGUMENT);
    ENTER(device->card);
    *memory = (nvmlMemory_t){device->total, device->total - device->used, device->used};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci) {
    REQUIRE(device && pci, INVALID_ARGUMENT);
    ENTER(device->card);
    REQUIRE(!device->is_instance, INVALID_ARGUMENT);
    memset(pci, 0, sizeof *pci);
    sscanf(device->bus_id, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    copy(pci->busId, sizeof pci->busId, device->bus_id);
    copy(pci->busIdLegacy, sizeof pci->busIdLegacy, device->bus_id + 4); /* 0000:01:00.0 */
    return NVML_SUCCESS;
}

/* Not supported in MIG mode, neither by the GPU nor by its instances. */
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *utilization) {
    REQUIRE(device && utilization, INVALID_ARGUMENT);
    ENTER(device->card);
    REQUIRE(!device->is_instance && device->mig != 1, NOT_SUPPORTED);
    *utilization = (nvmlUtilization_t){device->utilization, 0};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending) {
    REQUIRE(device && current && pending, INVALID_ARGUMENT);
    ENTER(device->card);
    REQUIRE(device->mig != -1, NOT_SUPPORTED);
    *current = *pending = device->mig;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned int *count) {
    REQUIRE(device && count, INVALID_ARGUMENT);
    ENTER(device->card);
    *count = device->mig == 1 ? SLOTS : 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned int index, nvmlDevice_t *instance) {
    REQUIRE(device && instance && index < SLOTS, INVALID_ARGUMENT);
    ENTER(device->card);
    REQUIRE(device->mig == 1, NOT_SUPPORTED);
    nvmlDevice_t found = device + 1 + index;
    REQUIRE(found < devices + device_count && found->is_instance && *found->uuid, NOT_FOUND);
    *instance = found;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned int *id) {
    REQUIRE(device && id, INVALID_ARGUMENT);
    ENTER(device->card);
    REQUIRE(device->is_instance, NOT_SUPPORTED);
    *id = device->gpu_instance;
    return NVML_SUCCESS;
}

static nvmlReturn_t running(nvmlDevice_t device, char kind, unsigned int *count, nvmlProcessInfo_t *infos) {
    unsigned int size = *count, found = 0;
    for (int i = 0; i < device->process_count; i++) {
        struct process *process = &device->processes[i];
        if (process->kind != kind) continue;
        if (infos && found < size) infos[found] = (nvmlProcessInfo_t){process->pid, process->used, ~0u, ~0u};
        found++;
    }
    *count = found;
    REQUIRE(found <= size, INSUFFICIENT_SIZE);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *infos) {
    REQUIRE(device && count, INVALID_ARGUMENT);
    ENTER(device->card);
    return running(device, 'C', count, infos);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *infos) {
    REQUIRE(device && count, INVALID_ARGUMENT);
    ENTER(device->card);
    return running(device, 'G', count, infos);
}

/* One sample for each process that used the GPU since then; not for MIG. */
nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *samples,
                                             unsigned int *count, unsigned long long last_seen) {
    REQUIRE(device && count, INVALID_ARGUMENT);
    ENTER(device->card);
    REQUIRE(!device->is_instance && device->mig != 1, NOT_SUPPORTED);
    unsigned int size = samples ? *count : 0, found = 0;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < device->process_count; i++) {
        struct process *process = &device->processes[i];
        double age = process->age * 1e6;
        unsigned long long at = now.tv_sec * 1000000ULL + now.tv_nsec / 1000 - (unsigned long long)age;
        if (!process->sm || at <= last_seen) continue;
        if (found < size) samples[found] = (nvmlProcessUtilizationSample_t){.pid = process->pid, at, process->sm};
        found++;
    }
    *count = found;
    REQUIRE(found, NOT_FOUND);
    REQUIRE(found <= size, INSUFFICIENT_SIZE);
    return NVML_SUCCESS;
}

/* There is one set; what happened before it was made is not told. */
nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set) {
    ENTER(-1);
    REQUIRE(set, INVALID_ARGUMENT);
    *set = (nvmlEventSet_t)events;
    delivered = event_count;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types, nvmlEventSet_t set) {
    REQUIRE(device && set, INVALID_ARGUMENT);
    ENTER(device->card);
    REQUIRE(types == NVML_EVENT_TYPE_XID_CRITICAL_ERROR && !device->is_instance, NOT_SUPPORTED);
    device->registered = 1;
    return NVML_SUCCESS;
}

static nvmlDevice_t card_of(int card) {
    for (int i = 0; i < device_count; i++)
        if (!devices[i].is_instance && devices[i].card == card) return &devices[i];
    return NULL;
}

static int next_event(nvmlEventData_t *data) {
    while (delivered < event_count) {
        static struct device copied;
        nvmlDevice_t device = card_of(events[delivered].card);
        unsigned int instance = events[delivered].instance;
        if (device) copied = *device;
        nvmlDevice_t handle = events[delivered].copy ? &copied : device;
        *data = (nvmlEventData_t){
            handle, NVML_EVENT_TYPE_XID_CRITICAL_ERROR, events[delivered].xid, instance, instance};
        int last = ++repeated >= events[delivered].count;
        if (last) delivered++, repeated = 0;
        if (device && device->registered) return 1;
    }
    return 0;
}

nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeout_ms) {
    struct timespec now, step = {0, 50000000}; /* the real one sleeps in the kernel until there is one */
    clock_gettime(CLOCK_MONOTONIC, &now);
    double end = now.tv_sec + now.tv_nsec / 1e9 + timeout_ms / 1e3;
    REQUIRE(set && data, INVALID_ARGUMENT);
    for (;;) {
        ENTER(-1);
        if (next_event(data)) return NVML_SUCCESS;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec + now.tv_nsec / 1e9 >= end) return NVML_ERROR_TIMEOUT;
        nanosleep(&step, NULL);
    }
}
