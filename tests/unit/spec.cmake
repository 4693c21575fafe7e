muster_test(test_spec_tf_config SOURCES test_spec_tf_config.c config_cases.c LINKS muster_cli
            ARGS ${CMAKE_SOURCE_DIR}/tests/golden/config/tf_config.txt)
