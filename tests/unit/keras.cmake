muster_test(test_keras_archive SOURCES test_keras_archive.c data_files.c LINKS muster_keras muster_tfio PkgConfig::ZLIB)
add_dependencies(test_keras_archive muster_keras_module)
set_tests_properties(test_keras_archive PROPERTIES ENVIRONMENT MUSTER_MODULE_DIR=${CMAKE_BINARY_DIR}/lib/muster)
