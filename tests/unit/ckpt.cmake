muster_test(test_ckpt_checkpoint SOURCES test_ckpt_checkpoint.c data_files.c LINKS muster_ckpt PkgConfig::ZLIB)
muster_test(test_ckpt_local_part SOURCES test_ckpt_local_part.c data_files.c LINKS muster_ckpt PkgConfig::ZLIB)
muster_test(test_ckpt_model_dir SOURCES test_ckpt_model_dir.c data_files.c LINKS muster_ckpt PkgConfig::ZLIB)

# What tests/interop/test_checkpoint.py drives.
add_executable(bundle_tool ${CMAKE_SOURCE_DIR}/tests/interop/bundle_tool.c)
target_link_libraries(bundle_tool PRIVATE muster_ckpt muster_warnings)
