foreach(file alloc arena bytes crc32c error log metrics rng)
    muster_test(test_base_${file} SOURCES test_base_${file}.c LINKS muster_base)
endforeach()
