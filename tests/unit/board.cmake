# What the chief tells of epochs and evaluations.
muster_test(test_chief_board SOURCES test_chief_board.c data_files.c LINKS muster_chief PkgConfig::ZLIB)
muster_test(test_chief_effective_rate SOURCES test_chief_effective_rate.c LINKS muster_chief)
muster_test(test_chief_csv_log SOURCES test_chief_csv_log.c LINKS muster_chief)
muster_test(test_chief_epoch_scores SOURCES test_chief_epoch_scores.c LINKS muster_chief)
# A whole chief among servers of a few lines.
foreach(file ending giving_way ps_links round_links workers)
    muster_test(test_chief_${file} SOURCES test_chief_${file}.c chief_fixture.c data_files.c rpc_frames.c rpc_stranger.c LINKS muster_chief PkgConfig::ZLIB)
endforeach()
