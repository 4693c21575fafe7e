# What the chief tells of epochs and evaluations.
muster_test(test_chief_board SOURCES test_chief_board.c data_files.c LINKS muster_chief PkgConfig::ZLIB)
muster_test(test_chief_effective_rate SOURCES test_chief_effective_rate.c LINKS muster_chief)
muster_test(test_chief_epoch_scores SOURCES test_chief_epoch_scores.c LINKS muster_chief)
