/* A stand-in for libnvidia-ml.so.1: the functions that comfy_supervisor calls, with the signatures, structures,
 * error codes and rules of nvml.h. What it pretends is read at nvmlInit from the file that FAKE_NVML names.
 * Its lines, tab between the fields:
 *
 *   driver   VERSION
 *   cuda     12040
 *   card     UUID NAME TOTAL_BYTES USED_BYTES BUS_ID UTILIZATION MIG   (MIG: -1 unknown to the card, 0 off, 1 on)
 *   instance UUID NAME TOTAL_BYTES USED_BYTES                          (in the next MIG slot of the card above;
 *                                                                       no UUID: the slot is empty)
 *   fault    FUNCTION CARD ACTION                                      (CARD: index, or -1 for any)
 *
 * ACTION is an error code to return, or: hang, crash (SIGSEGV), exit (with status 0), print (on standard output).
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int nvmlReturn_t;
enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
};

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

typedef struct device {
    int card; /* the index of the whole GPU */
    int is_instance;
    int mig;
    int utilization;
    unsigned long long total, used;
    char uuid[96], name[96], bus_id[32];
} *nvmlDevice_t;

enum { DEVICES = 64, FAULTS = 32, SLOTS = 7, FIELDS = 8, LINE = 1024 };

static int initialized;
static char driver[80];
static int cuda;
static struct device devices[DEVICES];
static int device_count;
static struct { char function[64]; int card; char action[16]; } faults[FAULTS];
static int fault_count;

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

static void read_line(char *line) {
    char *field[FIELDS] = {0};
    line[strcspn(line, "\n")] = 0;
    for (int i = 0; i < FIELDS && line; i++) field[i] = strsep(&line, "\t");
    if (!strcmp(field[0], "driver")) copy(driver, sizeof driver, field[1]);
    if (!strcmp(field[0], "cuda")) cuda = atoi(field[1]);
    if (!strcmp(field[0], "card")) read_device(field, 0);
    if (!strcmp(field[0], "instance")) read_device(field, 1);
    if (!strcmp(field[0], "fault") && fault_count < FAULTS) {
        copy(faults[fault_count].function, sizeof faults[0].function, field[1]);
        faults[fault_count].card = atoi(field[2]);
        copy(faults[fault_count++].action, sizeof faults[0].action, field[3]);
    }
}

static void read_script(void) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[LINE];
    device_count = fault_count = 0;
    while (file && fgets(line, sizeof line, file)) read_line(line);
    if (file) fclose(file);
}

/* Every function passes here first: what goes wrong is decided in one place. */
static nvmlReturn_t enter(const char *function, int card) {
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
    read_script();
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
