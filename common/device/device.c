// What is the same for every kind of device.
#include "device/device.h"

void mst_device_free(struct mst_device *device)
{
    if (device != NULL)
        device->ops->free(device);
}

char *mst_device_describe(const struct mst_device *device, char *out, size_t out_bytes)
{
    return device->ops->describe(device, out, out_bytes);
}
