muster_test(test_device_activation SOURCES test_device_activation.c LINKS muster_device)
muster_test(test_device_math SOURCES test_device_math.c LINKS muster_device)
muster_test(test_device_elements SOURCES test_device_elements.c device_reference.c LINKS muster_device)
muster_test(test_device_rows SOURCES test_device_rows.c device_reference.c LINKS muster_device)
muster_test(test_device_ops SOURCES test_device_ops.c device_reference.c LINKS muster_device)
muster_test(test_device_kernels SOURCES test_device_kernels.c device_reference.c LINKS muster_device)
muster_test(test_device_pool SOURCES test_device_pool.c LINKS muster_device)
# starts itself again for each core type of OpenBLAS
muster_test(test_device_gemm SOURCES test_device_gemm.c device_reference.c LINKS muster_device TIMEOUT 180)
