muster_test(test_embed_model SOURCES test_embed_model.c data_files.c LINKS muster_embed PkgConfig::ZLIB)
