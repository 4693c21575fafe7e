# What the chief writes for TensorBoard.
muster_test(test_chief_board SOURCES test_chief_board.c data_files.c LINKS muster_chief PkgConfig::ZLIB)
