foreach(file status bytes arena clock crc32c rng log log_rate metrics)
    muster_test(test_base_${file} SOURCES test_base_${file}.c LINKS muster_base)
endforeach()
muster_test(test_base_log_json SOURCES test_base_log_json.c LINKS muster_base PkgConfig::JANSSON)
